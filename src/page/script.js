"use strict";
// What scrolls sideways says so, for as long as it does.
{
  const tell = ({ target }) => target.classList.toggle("scrolls", target.scrollWidth > target.clientWidth);
  const watch = new ResizeObserver((entries) => entries.forEach(tell));
  document.querySelectorAll(".box").forEach((box) => watch.observe(box));
}
