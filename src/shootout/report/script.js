// Without this script the page says as much, through the tooltips; with it, the keyboard reaches
// every download, and a panel tells what the tooltip does.
(() => {
  const tell = (task) => {
    const panel = task.closest(".strip").querySelector(".detail");
    const [url, total, ...phases] = task.querySelector("title").textContent.split("\n");
    const head = document.createElement("b");
    head.textContent = url;
    panel.replaceChildren(head, document.createElement("br"), [total, ...phases].join(" · "));
  };
  const go = (from, to) => {
    if (!to) return;
    from.setAttribute("tabindex", "-1");
    to.setAttribute("tabindex", "0");
    to.focus();
  };
  const middle = (task) => {
    const box = task.querySelector(".hit").getBoundingClientRect();
    return box.left + box.width / 2;
  };
  const nearest = (lane, task) => {
    if (!lane || !lane.classList.contains("lane")) return null;
    const here = middle(task);
    const far = (other) => Math.abs(middle(other) - here);
    return [...lane.children].reduce((best, other) => (best && far(best) <= far(other) ? best : other), null);
  };
  const taskOf = (event) => (event.target.closest ? event.target.closest(".task") : null);
  for (const kind of ["mouseover", "focusin"]) {
    document.addEventListener(kind, (event) => {
      const task = taskOf(event);
      if (task) tell(task);
    });
  }
  // The panel lies over what follows: it goes when nothing is pointed at any more.
  for (const kind of ["mouseout", "focusout"]) {
    document.addEventListener(kind, (event) => {
      const task = taskOf(event);
      if (task) task.closest(".strip").querySelector(".detail").replaceChildren();
    });
  }
  document.addEventListener("keydown", (event) => {
    const task = taskOf(event);
    if (!task) return;
    const lane = task.parentElement;
    const all = [...task.closest("svg").querySelectorAll(".task")];
    const place = all.indexOf(task);
    const to = {
      ArrowRight: () => all[place + 1],
      ArrowLeft: () => all[place - 1],
      ArrowDown: () => nearest(lane.nextElementSibling, task),
      ArrowUp: () => nearest(lane.previousElementSibling, task),
      Home: () => all[0],
      End: () => all[all.length - 1],
    }[event.key];
    if (!to) return;
    event.preventDefault();
    go(task, to());
  });
})();
