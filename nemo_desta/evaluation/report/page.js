"use strict";
const rows = [...document.querySelectorAll("article")];
const texts = rows.map((row) => row.textContent.toLowerCase());
const [section, outcome, group, search] = ["section", "outcome", "group", "search"].map((id) => document.getElementById(id));
const shown = document.getElementById("shown");

function filter() {
  const wanted = search.value.toLowerCase();
  let count = 0;
  rows.forEach((row, i) => {
    const fits = (!section.value || row.dataset.section === section.value)
      && (!outcome.value || row.dataset.outcome === outcome.value)
      && (!group.value || row.dataset.groups.includes(`|${group.value}|`)) && texts[i].includes(wanted);
    row.hidden = !fits;
    count += fits;
  });
  shown.textContent = `${count} of ${rows.length}`;
}
if (section) {
  [section, outcome, group, search].forEach((control) => control.addEventListener("input", filter));
  filter();
}

document.querySelectorAll('article a[href^="#"]').forEach((link) => link.addEventListener("click", () => {
  const target = document.getElementById(link.getAttribute("href").slice(1));
  if (target) target.hidden = false;
}));

document.querySelectorAll("figure.clip").forEach((clip) => {
  const audio = clip.querySelector("audio"), picture = clip.querySelector(".picture"), cursor = clip.querySelector(".cursor");
  const seconds = Number(clip.dataset.seconds);
  const place = () => { cursor.style.left = `${Math.min(100, 100 * audio.currentTime / seconds)}%`; };
  let frame = 0;
  const follow = () => { place(); frame = requestAnimationFrame(follow); };
  audio.addEventListener("play", () => {
    document.querySelectorAll("audio").forEach((other) => { if (other !== audio) other.pause(); });
    follow();
  });
  audio.addEventListener("pause", () => cancelAnimationFrame(frame));
  audio.addEventListener("seeked", place);
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    audio.currentTime = seconds * (event.clientX - box.left) / box.width;
    audio.play();
  });
});
