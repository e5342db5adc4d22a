// Looks again every ten seconds, so that an open page stays true. Not while somebody reads a folded part or selects text.
"use strict";
const every = 10000;
async function look() {
  const main = document.querySelector("main");
  const busy = main.querySelector("details[open]") || !getSelection().isCollapsed || main.contains(document.activeElement);
  if (!document.hidden && !busy) {
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        main.replaceWith(fresh.querySelector("main"));
        document.title = fresh.title;
      }
      document.body.classList.toggle("away", !answer.ok);
    } catch {
      document.body.classList.add("away");
    }
  }
  setTimeout(look, every);
}
setTimeout(look, every);
