// What leaves the page: texts for the clipboard, pictures, and prints.

async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // frames of notebooks may not use the clipboard's interface
    const area = Object.assign(make("textarea"), {value: text});
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  said(button, "Copied");
}

/** A button says for a moment what it did. */
function said(button, text) {
  button.dataset.text ??= button.textContent;
  button.textContent = text;
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = setTimeout(() => { button.textContent = button.dataset.text; }, 1200);
}

/** What is on the page, in Python. */
function asPython({header, sliders, star}) {
  const given = header.labels.map((label, k) => `${label.name}=${plain(sliders.values[k], label.step)}`).join(", ");
  const lines = ["import slamjax", "", `model = slamjax.Model.read(${quoted(header.files.model)})`];
  lines.push(isName(header.labels) ? `flux = model(${given})` : `flux = model([${sliders.values.map((value, k) => plain(value, header.labels[k].step)).join(", ")}])`);
  if (star !== undefined) {
    lines.push("", `spectra = slamjax.read(${quoted(header.files.spectra)})`);
    lines.push(`star = spectra[spectra.rows == ${header.stars.rows[star]}]`, "labels = slamjax.fit(model, star)");
  }
  return `${lines.join("\n")}\n`;
}

/** The command that labels the star, or that makes this page. */
function asCommand({header, star, arrays}) {
  const {model, spectra, labels} = header.files;
  if (star === undefined) return `slamjax explore ${inShell(model)} -o explore.html`;
  const {named_by: column, names, is_text: isText} = header.stars;
  if (!column) return `slamjax explore ${inShell(model)} ${inShell(spectra)} ${inShell(labels)} -o explore.html`;
  const name = isText ? quoted(names[star]) : names[star];
  return `slamjax fit ${inShell(model)} ${inShell(spectra)} --select ${inShell(`${column} == ${name}`)} -o star.fits`;
}

function isName(labels) {
  return labels.every(({name}) => /^[A-Za-z_]\w*$/.test(name));
}

function plain(value, step) {
  return String(Number(value.toFixed(Math.max(0, 2 + Math.ceil(-Math.log10(step))))));
}

function quoted(text) {
  return JSON.stringify(text);
}

function inShell(text) {
  return /^[\w./+=:@%-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Buttons for a picture and a print of each panel. */
function addTools(roots) {
  for (const tools of document.querySelectorAll(".tools")) {
    const name = tools.dataset.panel;
    const png = make("button", "", "PNG"), pdf = make("button", "", "PDF");
    Object.assign(png, {type: "button", title: "Save the figure as a PNG file"});
    Object.assign(pdf, {type: "button", title: "Print this panel; choose “Save as PDF”"});
    png.addEventListener("click", () => savePicture(roots[name], `${name}.png`));
    pdf.addEventListener("click", () => printPanel(name));
    tools.append(png, " ", pdf);
  }
}

function savePicture(view, name) {
  const figure = view.export("png", true).canvas, picture = Object.assign(make("canvas"), {width: figure.width, height: figure.height});
  const context = picture.getContext("2d");
  context.fillStyle = colour("panel"); // figures are transparent
  context.fillRect(0, 0, picture.width, picture.height);
  context.drawImage(figure, 0, 0);
  picture.toBlob((blob) => {
    const link = Object.assign(make("a"), {href: URL.createObjectURL(blob), download: name});
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

/** One panel on paper, or in a PDF file. */
function printPanel(name) {
  const panel = document.getElementById(`panel-${name}`);
  document.body.dataset.print = name;
  panel.classList.add("printed");
  window.print();
  panel.classList.remove("printed");
  delete document.body.dataset.print;
}
