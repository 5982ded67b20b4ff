// Follows the run: each event brings what is shown of it, of which only what has changed is replaced.
{
  const link = document.getElementById("link");
  const shown = new Map();
  let last = new Date();
  const show = (text) => {
    const parts = document.createElement("template");
    parts.innerHTML = text;
    for (const part of parts.content.querySelectorAll("[id]")) {
      const markup = part.outerHTML;
      const there = document.getElementById(part.id);
      if (!there || shown.get(part.id) === markup) continue;
      shown.set(part.id, markup);
      if (part.dataset.title) document.title = part.dataset.title;
      there.replaceWith(part);
    }
    last = new Date();
    link.hidden = true;
  };
  const follow = () => {
    const source = new EventSource("events");
    source.addEventListener("state", ({ data }) => show(data));
    source.addEventListener("over", ({ data }) => {
      source.close();
      show(data);
    });
    source.addEventListener("error", () => {
      link.textContent = `The run does not respond. This is its state of ${last.toLocaleTimeString()}.`;
      link.hidden = false;
      // Where it is refused, a browser does not try again by itself.
      if (source.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
    });
  };
  // A run that is over tells nothing more.
  if (!document.querySelector(".over")) follow();
}
