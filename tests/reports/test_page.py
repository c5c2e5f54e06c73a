"""Reports in a browser: tables that are sorted, figures that are painted, paper."""

import base64

import numpy as np

THEMES = ("light", "dark")


def column(tab, name, heading):
    """Texts of a column, from above."""
    return tab.evaluate(
        """([name, heading]) => {
          const table = document.querySelector(`table[data-name="${name}"]`);
          const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === heading);
          return [...table.tBodies[0].rows].map((row) => row.cells[at].textContent);
        }""",
        [name, heading],
    )


def brightness(tab, picture):
    """Mean of all colours of a picture, 0 to 255."""
    return tab.evaluate(
        """async (data) => {
          const image = Object.assign(new Image(), {src: data});
          await image.decode();
          const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
          [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
          pen.drawImage(image, 0, 0);
          const {data: pixels} = pen.getImageData(0, 0, canvas.width, canvas.height);
          return pixels.filter((_, k) => k % 4 < 3).reduce((sum, one) => sum + one, 0) / (0.75 * pixels.length);
        }""",
        f"data:image/png;base64,{base64.b64encode(picture).decode()}",
    )


def click(tab, name, heading):
    tab.locator(f'table[data-name="{name}"] th button').get_by_text(heading, exact=True).click()


def test_a_click_sorts_numbers_and_another_one_turns_them_round(opened, page):
    tab = opened(page)
    before = column(tab, "calibration", "pull width")
    click(tab, "calibration", "pull width")
    values = [float(text) for text in column(tab, "calibration", "pull width")]
    assert values == sorted(float(text) for text in before)
    assert values != [float(text) for text in before]
    click(tab, "calibration", "pull width")
    assert [float(text) for text in column(tab, "calibration", "pull width")] == values[::-1]
    heading = tab.locator('table[data-name="calibration"] th[aria-sort]')
    assert heading.inner_text() == "pull width"
    assert heading.get_attribute("aria-sort") == "descending"


def test_rows_stay_whole_and_unknown_numbers_last(opened, page):
    tab = opened(page)
    pairs = dict(zip(column(tab, "worst", "star"), column(tab, "worst", "distance"), strict=True))
    click(tab, "worst", "star")
    assert column(tab, "worst", "star") == sorted(pairs)
    assert dict(zip(column(tab, "worst", "star"), column(tab, "worst", "distance"), strict=True)) == pairs
    for _ in range(2):
        click(tab, "calibration", "robust scatter")  # joint rows have none
        assert set(column(tab, "calibration", "robust scatter")[-5:]) == {"-"}


def test_figures_have_the_colours_of_the_theme(opened, page):
    seen = []
    for theme in THEMES:
        tab = opened(page, color_scheme=theme)
        found = tab.evaluate(
            """(() => {
              const {document: all} = Object.values(report.views)[0].model;
              const models = [...(all.all_models ?? all._all_models.values())];
              const tagged = models.filter(({tags}) => tags?.includes("fill:accent"));
              return [tagged.length, colour("accent"), tagged.map(({fill_color}) => fill_color.value ?? fill_color)];
            })()"""
        )
        count, accent, colours = found
        assert count > 10
        assert set(colours) == {accent}
        seen.append(accent)
        picture = tab.locator("#chart-0").screenshot()
        assert (brightness(tab, picture) > 150) == (theme == "light")
    assert seen[0] != seen[1]
    tab.locator("#theme").click()
    assert tab.evaluate("colour('accent')") == seen[0]


def test_nothing_is_wider_than_the_window(opened, page):
    tab = opened(page)
    for width in (1280, 800, 400):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.wait_for_timeout(400)  # figures follow
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_paper_is_light_open_and_has_pictures(opened, page):
    tab = opened(page, color_scheme="dark")
    tab.evaluate("beforePrint(report)")
    assert tab.evaluate("document.documentElement.dataset.theme") == "light"
    assert tab.evaluate("[...document.querySelectorAll('details')].every((one) => one.open)")
    tab.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
    sizes = np.array(tab.evaluate("[...document.images].map((image) => [image.naturalWidth, image.naturalHeight])"))
    assert len(sizes) == tab.evaluate("Object.keys(report.views).length")
    assert sizes.min() > 100
    texts = tab.evaluate(
        """(() => {
          const [image] = document.images, canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
          [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
          pen.fillStyle = "white";
          pen.fillRect(0, 0, canvas.width, canvas.height);
          pen.drawImage(image, 0, 0);
          return [...pen.getImageData(0, 0, canvas.width, canvas.height).data];
        })()"""
    )
    grey = np.reshape(texts, (-1, 4))[:, :3].max(axis=1)
    assert grey.mean() > 200
    assert grey.min() < 60  # the dark texts of the light theme
    tab.evaluate("afterPrint(report)")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    assert tab.evaluate("[...document.querySelectorAll('details')].every((one) => !one.open)")
    assert tab.pdf(format="A4").startswith(b"%PDF")
