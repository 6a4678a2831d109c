// Once per page.

// Enter that ends a Korean syllable is not yet Enter that sends; Gradio does not tell them apart.
document.addEventListener(
  "keydown",
  (event) => {
    if (event.key === "Enter" && event.isComposing) event.stopPropagation();
  },
  true,
);

// "Keep this seed" in the inspector.
window.keepSeed = (seed) => {
  const field = document.querySelector("#seed input");
  field.value = seed;
  field.dispatchEvent(new Event("input", { bubbles: true }));
};
