// Start all parts of the page.

{
  const shared = json("shared");
  theme.begin();
  comparison.begin();
  charts.begin(shared);
  runs.begin(shared);
  one("#skip").addEventListener("click", (event) => {
    event.preventDefault(); // following the link would replace the state in the address
    one("#main").focus();
  });
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open], .columns, .vega-embed *)");
    folded.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((details) => { details.open = false; }));
}
