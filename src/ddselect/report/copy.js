// Copies the text that a button names, and says so.
for (const button of document.querySelectorAll("button[data-copies]")) {
  const source = document.getElementById(button.dataset.copies);
  const said = document.getElementById(button.dataset.says);
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      said.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source); // not allowed: selected, so that a key copies it
      said.textContent = "Selected: copy it with your keyboard";
    }
  });
}
