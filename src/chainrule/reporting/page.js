"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("report-data");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const $ = (id) => document.getElementById(id);
  const COLOURS = {
    light: ["#2563c9", "#c2571a", "#1a7f4e", "#8a3fb8", "#b3261e", "#0e7c86", "#7a6a00", "#5b6470"],
    dark: ["#7cacf8", "#f0a06a", "#6fd19b", "#c99af0", "#ff8a80", "#5fd0da", "#d8c75a", "#9aa4b0"],
  };
  const colour = (i) => COLOURS[dark.matches ? "dark" : "light"][i % 8];
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  const dash = (i) => DASHES[Math.floor(i / 8) % 4];
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  // plotly reads tags and entities in its texts; user text must stay text
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, most = 14) => plain(text.length > most ? text.slice(0, most - 1) + "…" : text);
  const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  function number(x) {
    if (x === null || x === undefined) return "–";
    if (x === 0 || (Math.abs(x) >= 1e-3 && Math.abs(x) < 1e5)) return Number(x.toPrecision(3)).toString().replace("-", "−");
    const [digits, power] = x.toExponential(1).split("e");
    return digits.replace("-", "−") + "·10" + raised(power.replace("+", ""));
  }
  const raised = (power) => [...String(power)].map((c) => SUPERSCRIPTS[c]).join("");
  const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)}\u202f%`);

  function layout(more) {
    const axis = { gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--line"), automargin: true };
    const merged = (a) => ({ ...axis, ...a, title: a?.title ? { text: a.title, standoff: 8 } : undefined });
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: css("--fore"), size: 12, family: "system-ui, sans-serif" },
      margin: { l: 52, r: 12, t: 8, b: 42 }, hovermode: "closest", dragmode: false,
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
      ...more, xaxis: merged(more.xaxis), yaxis: merged(more.yaxis),
    };
  }
  const config = { displayModeBar: false, responsive: true, displaylogo: false };
  const draw = (id, traces, more) => $(id) && Plotly.react(id, traces, layout(more), config);
  const line = (x, y, name, i, more = {}) => ({
    x, y, name, mode: x.length < 40 ? "lines+markers" : "lines", type: "scatter",
    line: { color: colour(i), width: 2, dash: dash(i) }, marker: { size: 5, color: colour(i) }, ...more,
  });

  function curves() {
    for (const element of document.querySelectorAll("[data-curve]")) {
      const column = element.dataset.curve;
      const traces = [[column, "training"], ["val_" + column, "validation"]]
        .filter(([name]) => data.history[name])
        .map(([name, label], i) => line(data.history.epoch, data.history[name], label, i));
      draw(element.id, traces, { xaxis: { title: "epoch" }, yaxis: { title: plain(column === "lr" ? "learning rate" : column) }, showlegend: traces.length > 1 });
    }
  }

  function confusion() {
    if (!data.confusion) return;
    const { labels, counts } = data.confusion;
    const at = labels.map((_, i) => i);
    const shares = counts.map((row) => row.map((n) => n / Math.max(1, row.reduce((a, b) => a + b, 0))));
    const text = counts.map((row, i) => row.map((n, j) =>
      `true ${plain(labels[i])}<br>predicted ${plain(labels[j])}<br>${n} (${(100 * shares[i][j]).toFixed(1)} % of the row)`));
    const low = dark.matches ? "#1d2228" : "#f5f7f9";
    const few = labels.length <= 20;
    draw("confusion", [{
      type: "heatmap", x: at, y: at, z: shares.map((row) => row.map(Math.sqrt)), text, hoverinfo: "text", xgap: 1, ygap: 1,
      showscale: false, zmin: 0, zmax: 1, colorscale: [[0, low], [1, dark.matches ? "#3f7fe0" : "#2563c9"]],
    }], {
      xaxis: { title: "predicted", tickvals: at, ticktext: labels.map((l) => short(l)), showgrid: false, constrain: "domain", tickangle: labels.some((l) => l.length > 3) ? -45 : 0 },
      yaxis: { title: "true", tickvals: at, ticktext: labels.map((l) => short(l)), showgrid: false, autorange: "reversed" },
      annotations: !few ? [] : counts.flatMap((row, i) => row.map((n, j) => ({
        x: j, y: i, text: n ? String(n) : "", showarrow: false,
        font: { size: labels.length > 12 ? 9 : 12, color: shares[i][j] > 0.25 ? "#ffffff" : css("--fore") },
      }))),
    });
  }

  function points() {
    if (!data.points) return;
    const { true: x, predicted: y, target } = data.points;
    const named = (word) => (target ? `${word} ${short(target, 40)}` : word);
    const ends = [Math.min(...x, ...y), Math.max(...x, ...y)];
    draw("points", [
      { x: ends, y: ends, mode: "lines", line: { color: css("--dim"), width: 1, dash: "dash" }, hoverinfo: "skip" },
      {
        x, y, mode: "markers", type: "scatter", marker: { size: 6, color: colour(0), opacity: 0.6 },
        text: x.map((v, i) => `true ${number(v)}<br>predicted ${number(y[i])}`), hoverinfo: "text",
      },
    ], { xaxis: { title: named("true") }, yaxis: { title: named("predicted") }, showlegend: false });
  }

  const unit = { range: [-0.02, 1.02], tickformat: ".0%" };
  const dashed = (x, y) => ({ x, y, mode: "lines", line: { color: css("--dim"), width: 1, dash: "dash" }, hoverinfo: "skip", showlegend: false });

  function judged() {
    const { roc, precision, calibration, errors, shares, columns, classes } = data.judged;
    const named = (curves) => curves.map((c, i) => line(c.x, c.y, short(c.name, 20), i, { mode: "lines" }));
    draw("judged-roc", [dashed([0, 1], [0, 1]), ...named(roc)], {
      xaxis: { title: "false positive rate", ...unit }, yaxis: { title: "true positive rate", ...unit }, showlegend: roc.length > 1,
    });
    draw("judged-precision", [...(precision.length === 1 && shares ? [dashed([0, 1], [shares[0], shares[0]])] : []), ...named(precision)], {
      xaxis: { title: "recall", ...unit }, yaxis: { title: "precision", ...unit }, showlegend: precision.length > 1,
    });
    if (calibration) {
      const text = calibration.rows.map((n, i) => `${n} examples<br>said ${percent(calibration.said[i])}<br>true ${percent(calibration.true[i])}`);
      const most = Math.max(...calibration.rows);
      const size = calibration.rows.map((n) => 6 + 14 * Math.sqrt(n / most));
      draw("judged-calibration", [dashed([0, 1], [0, 1]), line(calibration.said, calibration.true, "", 0, { mode: "lines+markers", marker: { size, color: colour(0) }, text, hoverinfo: "text" })], {
        xaxis: { title: "mean probability", ...unit }, yaxis: { title: "frequency", ...unit }, showlegend: false,
      });
    }
    if (data.points) {
      const { true: t, predicted: p } = data.points;
      draw("judged-residuals", [dashed([Math.min(...p), Math.max(...p)], [0, 0]), {
        x: p, y: p.map((v, i) => v - t[i]), mode: "markers", type: "scatter", marker: { size: 6, color: colour(0), opacity: 0.6 },
        text: p.map((v, i) => `predicted ${number(v)}<br>true ${number(t[i])}`), hoverinfo: "text",
      }], { xaxis: { title: "predicted" }, yaxis: { title: "predicted − true" }, showlegend: false });
    }
    if (errors) {
      const { counts, edges } = errors;
      draw("judged-errors", [{
        type: "bar", x: counts.map((_, i) => (edges[i] + edges[i + 1]) / 2), y: counts, width: counts.map((_, i) => edges[i + 1] - edges[i]),
        marker: { color: colour(0) }, text: counts.map((n, i) => `${number(edges[i])} to ${number(edges[i + 1])}: ${n} examples`), hoverinfo: "text", textposition: "none",
      }], { xaxis: { title: "predicted − true" }, yaxis: { title: "examples" }, showlegend: false, bargap: 0 });
    }
    if (columns) importance(columns, classes);
  }

  function importance({ worse, dependence }, classes) {
    const rows = worse.slice().reverse();
    const at = rows.map((_, i) => i);
    draw("judged-importance", [{
      type: "bar", orientation: "h", y: at, x: rows.map((r) => r[1]), marker: { color: colour(0) },
      error_x: { type: "data", array: rows.map((r) => r[2]), color: css("--dim"), thickness: 1 },
      text: rows.map((r) => `${plain(r[0])}: ${number(r[1])} ± ${number(r[2])}`), hoverinfo: "text", textposition: "none",
    }], { xaxis: { title: "worse by" }, yaxis: { tickvals: at, ticktext: rows.map((r) => short(r[0], 18)), showgrid: false }, showlegend: false });
    const ends = dependence.flatMap((d) => d.means.flat());
    const low = Math.min(...ends), high = Math.max(...ends), room = 0.05 * (high - low || 1);
    dependence.forEach(({ name, values, ordered, means }, k) => {
      const many = means[0].length > 1, texts = typeof values[0] === "string";
      const title = many ? "probability" : classes.length === 2 ? `probability of ${short(classes[1], 12)}` : "prediction";
      const lines = means[0].map((_, i) => line(texts ? values.map((_, j) => j) : values, means.map((m) => m[i]), many ? short(classes[i], 16) : "", i, { mode: ordered === false ? "markers" : "lines+markers" }));
      draw(`judged-dependence-${k}`, lines, {
        xaxis: { title: short(name, 40), ...(texts ? { tickvals: values.map((_, j) => j), ticktext: values.map((v) => short(v, 12)), tickangle: values.length > 4 ? -30 : 0 } : {}) },
        yaxis: { title, range: [low - room, high + room] }, showlegend: many,
      });
    });
  }

  const flow = data.flow;
  const LINES = { gradient: "‖dW‖ / ‖W‖", update: "‖ΔW‖ / ‖W‖", dead: "dead units", saturated: "saturated values" };

  const cursor = (k) => ({
    type: "line", x0: flow.epochs[k], x1: flow.epochs[k], yref: "paper", y0: 0, y1: 1,
    line: { color: css("--dim"), width: 1, dash: "dot" },
  });
  const guide = () => ({
    type: "line", xref: "paper", x0: 0, x1: 1, y0: 1e-3, y1: 1e-3, line: { color: css("--dim"), width: 1, dash: "dash" },
  });
  const shapes = (name, k) => (name === "update" ? [cursor(k), guide()] : [cursor(k)]);

  // ticks of a logarithmic axis from 10^low to 10^high: powers of ten, or 1, 2, 5 where there are few of these
  function powers(low, high, most = 8) {
    const at = [];
    const every = Math.max(1, Math.ceil((high - low) / most));
    for (let e = Math.floor(low); e <= high; e++) {
      for (const digit of high - low < 1.5 ? [1, 2, 5] : [1]) {
        const exponent = e + Math.log10(digit);
        if (exponent >= low && exponent <= high && e % every === 0) at.push(exponent);
      }
    }
    const text = (e) => (Number.isInteger(e) && e !== 0 ? "10" + raised(e) : number(10 ** e));
    return { at, text: at.map(text) };
  }

  function ratios(k) {
    for (const [name, title] of Object.entries(LINES)) {
      const logarithmic = name === "gradient" || name === "update";
      const shown = flow.layers.map((layer, i) => ({ layer, i })).filter(({ layer }) => layer[name]);
      if (!shown.length) continue;
      const all = shown.flatMap(({ layer }) => layer[name]).filter((y) => y > 0);
      const top = all.length ? Math.log10(Math.max(...all)) : 0;
      const low = all.length ? Math.max(Math.log10(Math.min(...all)), top - (name === "update" ? 6 : 12)) : -1;
      const least = low - 0.3, most = top + 0.3, ticks = powers(least, most);
      const axis = logarithmic
        ? { title, type: "log", range: [least, most], tickmode: "array", tickvals: ticks.at.map((e) => 10 ** e), ticktext: ticks.text }
        : { title, tickformat: ".0%", range: [-0.02, 1].map((end) => end * Math.max(0.1, 1.08 * Math.max(...all, 0))) };
      const traces = shown.map(({ layer, i }) => {
        const y = layer[name], under = logarithmic ? y.map((v) => v !== null && v < 0.999 * 10 ** low) : y.map(() => false);
        return line(flow.epochs, y.map((v, at) => (under[at] ? 10 ** least : v)), plain(layer.name), i, {
          text: y.map((v, at) => `${plain(layer.name)}, ${when(at)}<br>${title} ${logarithmic ? number(v) : percent(v)}`), hoverinfo: "text",
          marker: { size: under.map((u) => (u ? 10 : 5)), color: colour(i), symbol: under.map((u) => (u ? "triangle-down" : "circle")) },
          ...(under.some(Boolean) ? { mode: "lines+markers" } : {}),
        });
      });
      const guided = name === "update" && least < -3 && most > -3;
      draw("line-" + name, traces, {
        xaxis: { title: "epoch" }, yaxis: axis, showlegend: true, shapes: shapes(name, k),
        annotations: guided
          ? [{ xref: "paper", x: 1, xanchor: "right", y: -3, yanchor: "bottom", text: "10⁻³", showarrow: false, font: { color: css("--dim"), size: 11 } }]
          : [],
      });
    }
  }

  const ranges = {};
  function range(kind) {
    if (ranges[kind]) return ranges[kind];
    const all = flow.layers.flatMap((layer) => layer.distributions[kind] || []).filter((d) => d && d.q.length && d.q[0] !== null);
    const low = Math.min(...all.map((d) => d.q[0])), high = Math.max(...all.map((d) => d.q[d.q.length - 1]));
    if (!all.length) return (ranges[kind] = kind[0] === "d" ? [-6, 0] : [-1, 1]);
    if (kind[0] === "d") return (ranges[kind] = [Math.max(low, flow.decades[0]) - 0.3, Math.min(high, flow.decades[1]) + 0.3]);
    const inner = [Math.min(...all.map((d) => d.q[1])), Math.max(...all.map((d) => d.q[5]))];
    const room = Math.max(inner[1] - inner[0], 1e-6);
    return (ranges[kind] = [Math.max(low, inner[0] - room) - 0.05 * room, Math.min(high, inner[1] + room) + 0.05 * room]);
  }

  function ridge(kind, k) {
    const gradient = kind[0] === "d";
    const shown = flow.layers.map((layer, i) => ({ layer, i })).filter(({ layer }) => layer.distributions[kind]);
    const traces = [], notes = [];
    shown.forEach(({ layer, i }, place) => {
      const d = layer.distributions[kind][k];
      if (!d || d.q[0] === null || d.q[0] === undefined) {
        notes.push({
          xref: "paper", x: 0.5, y: place, yanchor: "bottom", showarrow: false,
          text: d ? "all exactly 0" : "infinite, or not a number", font: { color: css("--bad"), size: 12 },
        });
        return;
      }
      const heights = bytes(d.bins);
      const [low, high] = gradient ? flow.decades : d.range;
      const width = (high - low) / heights.length;
      const x = [low], y = [place];
      heights.forEach((h, b) => {
        x.push(low + b * width, low + (b + 1) * width);
        y.push(place + (0.85 * h) / 255, place + (0.85 * h) / 255);
      });
      x.push(high); y.push(place);
      const power = (v) => (gradient ? number(10 ** v) : number(v));
      const zeros = gradient ? `<br>exactly 0: ${(100 * d.zeros).toFixed(1)} %` : "";
      traces.push({
        x, y, type: "scatter", mode: "lines", fill: "toself", fillcolor: colour(i) + "66", showlegend: false, hoveron: "fills",
        line: { color: colour(i), width: 1 }, hoverinfo: "text", name: plain(layer.name),
        text: `${plain(layer.name)}, ${kind}<br>median ${power(d.q[3])}<br>90 % in ${power(d.q[1])} … ${power(d.q[5])}${zeros}`,
      });
    });
    const [least, most] = range(kind), ticks = gradient ? powers(least, most, 6) : null;
    const title = gradient ? `|${kind}|, exact zeros left out` : kind;
    // a line of no height: an axis without any trace has no ticks
    if (!traces.length) traces.push({ x: [least, most], y: [0, 0], mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false });
    draw("ridge-" + kind, traces, {
      xaxis: gradient ? { title, range: [least, most], tickmode: "array", tickvals: ticks.at, ticktext: ticks.text } : { title, range: [least, most], nticks: 7 },
      yaxis: {
        tickvals: shown.map((_, place) => place), ticktext: shown.map(({ layer }) => short(layer.name)), range: [-0.15, shown.length],
        showgrid: false, zeroline: false,
      },
      annotations: notes,
    });
  }

  const SVG = "http://www.w3.org/2000/svg";
  function element(name, attributes, text) {
    const e = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
    if (text !== undefined) e.textContent = text;
    return e;
  }
  const CHANNELS = {
    gradient: { edges: "dW", edge: "|dW|", nodes: "dZ", node: "root mean square of dZ" },
    update: { edges: "update", edge: "|ΔW| / |W|", nodes: "saturated", node: "share of saturated values" },
    weight: { edges: "W", edge: "|W|", nodes: "saturated", node: "share of saturated values" },
  };
  // light to dark on paper, dark to light on black: what is strong stands out
  function shade(level) {
    const [from, to] = dark.matches ? [[44, 51, 60], [124, 200, 248]] : [[226, 231, 237], [16, 66, 160]];
    return `rgb(${from.map((c, i) => Math.round(c + (to[i] - c) * level)).join(",")})`;
  }
  function value(channel, byte) {
    if (channel.top === undefined) return `${Math.round((100 * (byte - 1)) / 254)}\u202f%`;
    return byte ? `≈ ${number(10 ** (channel.top + channel.decades * ((byte - 1) / 254 - 1)))}` : "0";
  }

  function network(k) {
    const holder = $("network");
    if (!holder || !flow.drawing) return;
    const drawing = flow.drawing, names = CHANNELS[$("shading").value];
    const width = Math.max(holder.clientWidth, 280), columns = [flow.layers[0].inputs, ...flow.layers.map((l) => l.units)];
    const tall = Math.max(...columns.map((c) => c.length)), gap = width < 600 ? 24 : 32, top = 80;
    const height = top + tall * gap + 10, side = width < 600 ? 30 : 60, radius = width < 600 ? 6 : 9;
    const every = Math.ceil(112 / ((width - 2 * side) / Math.max(1, columns.length - 1)));
    const x = (l) => side + (l * (width - 2 * side)) / Math.max(1, columns.length - 1);
    const y = (l, i) => top + (tall * gap) / 2 + (i - (columns[l].length - 1) / 2) * gap;
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    svg.append(element("title", {}, `The network ${flow.epochs[k] ? `after epoch ${flow.epochs[k]}` : "before training"}: edges by ${names.edge}, nodes by ${names.node}`));
    const edges = [];
    flow.layers.forEach((layer, l) => {
      const levels = bytes(drawing[names.edges].shades[k][l]);
      layer.inputs.forEach((from, i) => layer.units.forEach((to, j) => {
        const byte = levels[i * layer.units.length + j];
        const e = element("line", {
          x1: x(l), y1: y(l, i), x2: x(l + 1), y2: y(l + 1, j), stroke: shade(byte / 255),
          "stroke-width": (0.4 + 1.8 * (byte / 255) ** 2).toFixed(2),
          "stroke-opacity": (0.1 + 0.9 * (byte / 255) ** 2).toFixed(2),
        });
        e.append(element("title", {}, `${layer.weight}[${from}, ${to}]: ${names.edge} ${value(drawing[names.edges], byte)}`));
        edges.push([byte, e]);
      }));
    });
    edges.sort((a, b) => a[0] - b[0]).forEach(([, e]) => svg.append(e));
    columns.forEach((units, l) => {
      const layer = l ? flow.layers[l - 1] : null;
      const coded = layer ? drawing[names.nodes].shades[k][l - 1] : null;
      const levels = coded ? bytes(coded) : null, reached = layer ? bytes(drawing.dZ.shades[k][l - 1]) : null;
      units.forEach((unit, i) => {
        const dead = reached !== null && reached[i] === 0;
        const fill = levels ? shade(levels[i] / 255) : css("--back");
        const node = element("circle", {
          cx: x(l), cy: y(l, i), r: radius, fill: dead ? css("--back") : fill, stroke: dead ? css("--bad") : css("--dim"),
          "stroke-width": dead ? 2 : 1, ...(dead ? { "stroke-dasharray": "3 2" } : {}),
        });
        const text = layer ? `${layer.name}, unit ${unit}` : `input ${unit}`;
        const said = dead ? ": no gradient arrives" : levels ? `: ${names.node} ${value(drawing[names.nodes], levels[i])}` : "";
        node.append(element("title", {}, text + said));
        svg.append(node);
      });
      const shown = l === 0 || l === columns.length - 1 || (l % every === 0 && columns.length - 1 - l >= every);
      if (!shown) return;
      const total = layer ? layer.shape[1] : flow.layers[0].shape[0];
      const anchor = l === 0 ? "start" : l === columns.length - 1 ? "end" : "middle";
      const place = l === 0 ? Math.max(0, x(l) - side + 2) : l === columns.length - 1 ? width - 2 : x(l);
      const said = [[layer ? layer.name : "input", "name"], [units.length < total ? `${units.length} of ${total}` : `${total}`, ""]];
      if (layer) said.push(...measures(layer, k));
      said.forEach(([text, style], row) => svg.append(element("text", { x: place, y: 14 + 16 * row, "text-anchor": anchor, class: style }, text)));
    });
    holder.replaceChildren(svg);
    scale(names, drawing);
  }

  // what stands over a layer: the ratio that goes with the shading, and what is dead or saturated of it
  function measures(layer, k) {
    const name = $("shading").value === "gradient" ? "gradient" : "update", ratio = layer[name][k];
    const said = [[`${LINES[name].replaceAll(" ", "")} ${number(ratio)}`, ratio === 0 || ratio === null ? "bad" : ""]];
    const dead = layer.dead ? layer.dead[k] : null, saturated = layer.saturated ? layer.saturated[k] : null;
    if (dead >= 0.005) said.push([`dead ${Math.round(100 * dead)}\u202f%`, dead >= 0.2 ? "bad" : ""]);
    else if (saturated > (layer.one_sided ? 0.9 : 0.1)) said.push([`sat. ${Math.round(100 * saturated)}\u202f%`, saturated >= 0.5 ? "bad" : ""]);
    return said;
  }

  function scale(names, drawing) {
    const canvas = $("scale-colours"), context = canvas.getContext("2d");
    for (let i = 0; i < canvas.width; i++) {
      context.fillStyle = shade(i / canvas.width);
      context.fillRect(i, 0, 1, canvas.height);
    }
    const ends = (c) => (c.top === undefined ? "0 … 100 %" : `${number(10 ** (c.top - c.decades))} or less … ${number(10 ** c.top)}`);
    $("scale-edges").textContent = `edges: ${names.edge}, ${ends(drawing[names.edges])}`;
    $("scale-nodes").textContent = `nodes: ${names.node}, ${ends(drawing[names.nodes])}`;
  }

  const when = (k) => (flow.epochs[k] ? `epoch ${flow.epochs[k]} of ${flow.epochs[flow.epochs.length - 1]}` : "before training");

  function at(k) {
    const epoch = flow.epochs[k];
    $("epoch-name").textContent = when(k);
    if (flow.weights[k] !== epoch) $("epoch-name").textContent += `, weights of ${flow.weights[k]}`;
    $("epoch").setAttribute("aria-valuetext", $("epoch-name").textContent);
    for (const kind of ["Z", "A", "dZ", "dW"]) ridge(kind, k);
    for (const name of Object.keys(LINES)) if ($("line-" + name)) Plotly.relayout("line-" + name, { shapes: shapes(name, k) });
    network(k);
  }

  function everything() {
    curves();
    confusion();
    points();
    judged();
    if (!flow) return;
    const k = Number($("epoch").value);
    ratios(k);
    at(k);
  }

  if (flow) {
    const layers = flow.layers.length;
    for (const e of document.querySelectorAll(".chart.ridge")) e.style.height = `${Math.max(17, 6 + 1.4 * layers)}rem`;
    if (layers > 5) for (const e of document.querySelectorAll("[id^=line-]")) e.style.height = `${18 + 0.45 * layers}rem`;
    const slider = $("epoch");
    slider.max = flow.epochs.length - 1;
    slider.value = slider.max;
    slider.addEventListener("input", () => at(Number(slider.value)));
    if ($("shading")) $("shading").addEventListener("change", () => network(Number(slider.value)));
    let width = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth !== width) network(Number(slider.value));
      width = innerWidth;
    });
  }
  dark.addEventListener("change", everything);
  everything();
  document.documentElement.dataset.drawn = "yes";
})();
