// The style sheet of report.html.
#pragma once

namespace graft::demo {

inline constexpr const char* kReportStyle = R"css(
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --panel: #ffffff; --ink: #1d2126; --muted: #666c74; --line: #e4e1db;
  --scratch: #6b7280; --random: #b0a89c; --option1: #1d63c4; --option2: #c2410c; --option3: #0b7a5e;
  --right: 29 99 196; --wrong: 194 65 12;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14161a; --panel: #1b1e23; --ink: #e8e6e3; --muted: #9aa0a8; --line: #30343b;
    --scratch: #a3abb5; --random: #7f786e; --option1: #6ea8ff; --option2: #ff8a4c; --option3: #4cc9a4;
    --right: 110 168 255; --wrong: 255 138 76;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; }
main { max-width: 980px; margin: 0 auto; padding: 48px 24px 64px; }
h1 { font-size: 1.75rem; line-height: 1.28; font-weight: 650; margin: 6px 0 14px; letter-spacing: -0.01em; }
h2 { font-size: 1.12rem; font-weight: 650; margin: 52px 0 4px; }
p { margin: 4px 0 14px; max-width: 46em; }
.kicker, .muted, figcaption { color: var(--muted); }
.kicker { font-size: 0.86rem; margin: 0; }
.muted, figcaption { font-size: 0.88rem; }
.notice { border-left: 3px solid var(--option2); padding: 2px 12px; }
.panel { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 16px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 20px; }
.pair > *, .wide { min-width: 0; }
@media (max-width: 760px) { .pair { grid-template-columns: 1fr; } }
figure { margin: 0; }
figcaption { margin-top: 8px; }

.chart { display: block; width: 100%; height: auto; }
.chart text { font-size: 13px; fill: var(--muted); }
.chart .middle { text-anchor: middle; }
.chart .end { text-anchor: end; }
.chart .grid { stroke: var(--line); }
.chart .series path { fill: none; stroke: var(--colour); stroke-width: 2.5; stroke-linejoin: round; }
.chart .series circle { fill: var(--colour); stroke: var(--panel); stroke-width: 1.5; }
.chart .series .error { stroke: var(--colour); stroke-width: 1.5; opacity: 0.65; }
.chart text.name { fill: var(--colour); font-weight: 600; }
.scratch { --colour: var(--scratch); }
.random_frozen { --colour: var(--random); }
.random_frozen path { stroke-dasharray: 5 4; }
.head_only { --colour: var(--option1); }
.all_layers, .source { --colour: var(--option2); }
.head_then_all { --colour: var(--option3); }

table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.results { width: 100%; }
.results th, .results td { padding: 8px 12px; text-align: right; border-bottom: 1px solid var(--line); }
.results th { font-weight: 600; font-size: 0.88rem; color: var(--muted); }
.results tbody th { color: var(--ink); font-size: 1rem; }
.results tr:last-child th, .results tr:last-child td { border-bottom: 0; }
.results .best { font-weight: 700; }
.results small { color: var(--muted); font-weight: 400; }

.confusion { margin: 0 auto; }
.confusion td { width: 37px; height: 32px; text-align: center; font-size: 0.8rem; border: 1px solid var(--panel);
  border-radius: 3px; background: rgb(var(--wrong) / var(--v, 0)); }
.confusion td.hit { background: rgb(var(--right) / var(--v, 0)); }
.confusion th { font-weight: 600; font-size: 0.84rem; color: var(--muted); padding: 2px 6px; }

.mistakes { display: grid; grid-template-columns: repeat(6, 1fr); gap: 12px 8px; }
.mistakes figure { text-align: center; }
.mistakes img { width: 52px; height: 52px; border-radius: 3px; image-rendering: pixelated; }
.mistakes figcaption { margin: 1px 0 0; font-size: 0.76rem; line-height: 1.3; }
.mistakes b { color: var(--ink); font-weight: 650; }
.sheet { display: block; width: 100%; border-radius: 4px; background: #000; }
.filters { display: block; width: 100%; image-rendering: pixelated; }

dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; font-size: 0.92rem; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font: 0.9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
)css";

}  // namespace graft::demo
