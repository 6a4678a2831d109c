// A press on anything with data-do goes to Python; copying needs only the browser.
const send = (pressed, value) =>
  trigger("click", { do: pressed.dataset.do, id: pressed.dataset.id, value });

element.addEventListener("click", (event) => {
  const pressed = event.target.closest("button[data-do]");
  if (!pressed || pressed.disabled) return;
  if (pressed.dataset.do === "copy") {
    const words = pressed.closest(".message").querySelector(".words").textContent;
    window.copy(words).then(() => {
      pressed.classList.add("done");
      setTimeout(() => pressed.classList.remove("done"), 1200);
    });
  } else {
    send(pressed, pressed.dataset.value);
  }
});

element.addEventListener("keydown", (event) => {
  const typed = event.target.closest("input[data-do]");
  if (!typed || event.isComposing) return;
  if (event.key === "Enter") send(typed, typed.value);
  if (event.key === "Escape") trigger("click", { do: "keep", id: "0", value: "" });
});

watch("value", () => {
  const typed = element.querySelector("input[data-do]");
  if (typed && document.activeElement !== typed) {
    typed.focus();
    typed.select();
  }
});
