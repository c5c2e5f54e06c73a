// Paper: everything is opened and light, and pictures of the figures stand for them, for they can follow any width.

const onPaper = {opened: [], theme: null, images: {}};
// Milliseconds in which figures follow a new width.
const settled = 600;

function beforePrint(report) {
  onPaper.opened = [...document.querySelectorAll("details:not([open])")];
  for (const details of onPaper.opened) details.open = true;
  onPaper.theme = document.documentElement.dataset.theme;
  if (onPaper.theme !== "light") report.paint("light");
  for (const [target, view] of Object.entries(report.views)) {
    // printing waits for nothing, so colours that would follow later are taken now
    for (const renderer of view.renderer_views?.values() ?? []) renderer.set_visuals?.();
    view.paint?.();
    const figure = document.getElementById(target), image = (onPaper.images[target] ??= new Image());
    image.alt = figure.getAttribute("aria-label");
    image.src = view.export("png", true).canvas.toDataURL();
    figure.after(image);
  }
}

function afterPrint(report) {
  for (const details of onPaper.opened) details.open = false;
  document.body.classList.remove("narrow");
  if (onPaper.theme !== "light") report.paint(onPaper.theme);
}

/** Figures as wide as paper first, so that their texts are large enough. */
async function printNarrow() {
  document.body.classList.add("narrow");
  await new Promise((resolve) => setTimeout(resolve, settled));
  window.print();
}
