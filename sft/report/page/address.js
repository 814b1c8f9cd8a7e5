// The state of the page in its address (#sort=-test.accuracy&q=pca), so that it can be shared and Back works.

const address = {
  read: () => new URLSearchParams(location.hash.slice(1)),

  /** Change keys; null removes a key. `quietly`: add no step to the history (for every typed character). */
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

  /** Call `show` now and after every change of the address. */
  follow(show) {
    const update = () => show(address.read());
    addEventListener("address", update);
    addEventListener("hashchange", update);
    update();
  },
};
