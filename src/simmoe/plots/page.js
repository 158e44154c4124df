"use strict";
// Draws the figures of the page, and again when a control is changed. All controls are elements of the page.
(() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const config = {displaylogo: false, displayModeBar: false};
  const paper = 680;  // pixels of width that a sheet has
  const chosen = new Map();  // number of a filter -> value that rows must have

  const passes = row => [...chosen].every(([number, value]) => page.filters[number].of[row] === value);
  const kept = trace => {
    const rows = trace.meta && trace.meta.rows;
    if (!rows || !chosen.size) return trace;
    return {...trace, y: trace.y.map((value, i) => rows[i] === null || passes(rows[i]) ? value : null)};
  };

  const draw = (figure, i) => {
    const box = document.getElementById("figure" + i), plot = box.querySelector(".plot");
    const select = box.querySelector("select"), choice = select ? select.value : "";
    const off = new Set([...box.querySelectorAll("input")].filter(one => !one.checked).map(one => one.value));
    const shown = figure.data.filter(trace => {
      const of = trace.meta && trace.meta.choice;
      return (!of || of === choice) && !off.has(trace.legendgroup);
    });
    const layout = figure.layouts[choice] || figure.layouts[""];
    plot.style.minWidth = figure.least_width ? figure.least_width + "px" : "";
    return Plotly.react(plot, shown.map(kept), JSON.parse(JSON.stringify(layout)), config);
  };

  const rows = () => {
    document.querySelectorAll("tr[data-row]").forEach(row => { row.hidden = !passes(Number(row.dataset.row)); });
    const all = Object.keys(page.filters.length ? page.filters[0].of : {}), left = all.filter(row => passes(Number(row))).length;
    const said = document.getElementById("filtered");
    if (said) said.textContent = chosen.size ? `${left} of ${all.length} trials` : "";
  };

  const plain = text => new DOMParser().parseFromString(text.replace(/<br>/g, "\n"), "text/html").body.textContent;
  const pick = (box, event) => {
    const point = event.points[0], text = point.hovertext || point.data.hovertext;
    if (typeof text === "string") box.querySelector(".picked").textContent = plain(text);
  };

  const plots = [...document.querySelectorAll(".plot")];
  const resized = new ResizeObserver(entries => entries.forEach(({target}) => {
    if (target.layout && target.layout.width !== target.clientWidth) Plotly.Plots.resize(target);
  }));

  page.figures.forEach((figure, i) => {
    const box = document.getElementById("figure" + i);
    box.querySelectorAll("select,input").forEach(one => one.addEventListener("change", () => draw(figure, i)));
    draw(figure, i).then(plot => {
      plot.on("plotly_click", event => pick(box, event));
      resized.observe(plot);
    });
  });
  document.querySelectorAll(".filters select").forEach(one => one.addEventListener("change", () => {
    const number = Number(one.dataset.filter);
    if (one.value === "") chosen.delete(number); else chosen.set(number, Number(one.value));
    rows();
    page.figures.forEach(draw);
  }));
  const clear = document.getElementById("clear");
  if (clear) clear.addEventListener("click", () => {
    document.querySelectorAll(".filters select").forEach(one => { one.value = ""; });
    chosen.clear();
    rows();
    page.figures.forEach(draw);
  });

  // On paper nothing can be opened, and no width is another.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach(one => { one.open = true; });
    plots.forEach(plot => Plotly.relayout(plot, {width: paper}));
  });
  addEventListener("afterprint", () => {
    closed.forEach(one => { one.open = false; });
    plots.forEach(plot => Plotly.relayout(plot, {width: null, autosize: true}));
  });
})();
