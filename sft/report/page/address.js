// What is shown, as it stands in the page's address (#sort=-test.accuracy&q=pca): it can be shared, and Back works.

const address = {
  read: () => new URLSearchParams(location.hash.slice(1)),

  /** Change some of it; null takes a key out. `quietly`: without a new step in the history, for every typed letter. */
  change(changes, quietly = false) {
    const now = address.read();
    for (const [key, value] of Object.entries(changes)) {
      if (value == null || value === "") now.delete(key);
      else now.set(key, value);
    }
    const hash = `#${now}`;
    if (hash === (location.hash || "#")) return;
    if (quietly) history.replaceState(null, "", hash);
    else history.pushState(null, "", hash);
    dispatchEvent(new Event("address"));
  },

  /** Call `shown` now, and whenever the address has changed. */
  follow(shown) {
    const tell = () => shown(address.read());
    addEventListener("address", tell);
    addEventListener("hashchange", tell);
    tell();
  },
};
