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

// A name that is typed is kept with Enter or by going on elsewhere; Escape leaves the old one.
const leave = (typed, isKept) => {
  if (typed.disabled) return;
  typed.disabled = true; // once
  if (isKept && typed.value.trim()) send(typed, typed.value);
  else trigger("click", { do: "keep", id: "0", value: "" });
};
element.addEventListener("keydown", (event) => {
  const typed = event.target.closest("input[data-do]");
  if (!typed || event.isComposing) return;
  if (event.key === "Enter" || event.key === "Escape") leave(typed, event.key === "Enter");
});
element.addEventListener("focusout", (event) => {
  const typed = event.target.closest("input[data-do]");
  // A press on another of our buttons does what that button says.
  if (typed && typed.isConnected && !element.contains(event.relatedTarget)) leave(typed, true);
});

watch("value", () => {
  const typed = element.querySelector("input[data-do]");
  if (typed && document.activeElement !== typed) {
    typed.focus();
    typed.select();
  }
});
