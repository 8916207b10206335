"""The page's style sheet: one accent for the window, grey for the reference, one colour a level."""

CSS = """
:root{--bg:#f6f7f9;--card:#fff;--ink:#14181f;--soft:#5b6472;--line:#e3e6eb;--ref:#cfd5de;--now:#2f6fed;
--good:#178a5b;--note:#c08a00;--warn:#d9641e;--bad:#c8283c;--idle:#8a93a1;--fix:#7a4fd0}
@media(prefers-color-scheme:dark){:root{--bg:#0f1217;--card:#181c23;--ink:#eef1f5;--soft:#9aa4b2;--line:#2a303a;
--ref:#434c5a;--now:#6ea0ff;--good:#3fc48a;--note:#e0b13a;--warn:#f08a4b;--bad:#f0596b;--idle:#7a8492;--fix:#a98af0}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:1160px;margin:0 auto;padding:32px 24px 56px}
header{background:var(--card);border:1px solid var(--line);border-radius:16px;padding:24px 28px;
border-top:5px solid var(--tone)}
.meta{color:var(--soft);font-size:13px;display:flex;gap:2px 18px;flex-wrap:wrap;margin:0 0 14px}
.meta b{color:var(--ink);font-weight:600}
h1{font-size:26px;line-height:1.2;margin:0 0 8px;display:flex;align-items:center;gap:12px;flex-wrap:wrap}
.pill{font-size:12px;font-weight:650;letter-spacing:.03em;padding:3px 10px;border-radius:99px;background:var(--tone);
color:#fff}
.pill.plain{background:none;color:var(--soft);border:1px solid var(--line)}
.why{font-size:17px;margin:0;max-width:86ch}.why,.note,footer{overflow-wrap:anywhere}
.tone-good{--tone:var(--good)}.tone-note{--tone:var(--note)}.tone-warn{--tone:var(--warn)}
.tone-bad{--tone:var(--bad)}.tone-idle{--tone:var(--idle)}
section{margin-top:26px}
h2{font-size:13px;font-weight:650;letter-spacing:.06em;text-transform:uppercase;color:var(--soft);margin:0 0 10px}
.row{display:grid;grid-template-columns:minmax(0,1.35fr) minmax(0,1fr);gap:16px;align-items:start}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:16px 18px;min-width:0}
.card h2{margin-bottom:6px}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(262px,1fr));gap:14px}
.column h3{margin:0;font-size:15px;font-weight:650;display:flex;justify-content:space-between;gap:8px;
align-items:center}
.column h3 span:first-child{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.tag{font-size:11px;font-weight:650;padding:1px 8px;border-radius:99px;color:#fff;background:var(--idle);
white-space:nowrap}
.tag.moved{background:var(--now)}.tag.broken{background:var(--bad)}.tag.still{background:none;color:var(--soft);
padding:0}
.column p{margin:2px 0 8px;font-size:12.5px;color:var(--soft)}
.column p.note{color:var(--bad)}
svg{display:block;width:100%;height:auto}svg.interval{max-width:540px}
.strip{display:flex;flex-wrap:wrap;gap:4px;margin:4px 0 0}.strip i{width:14px;height:14px;border-radius:4px}
.ref{fill:var(--ref)}.now{fill:var(--now)}.axis{stroke:var(--line);stroke-width:1}
.tick{font-size:11px;fill:var(--soft)}.point{font-size:13px;fill:var(--ink)}
.range{stroke:var(--now);stroke-width:10;stroke-linecap:round;opacity:.28}
.mark-ref{stroke:var(--soft);stroke-width:3;stroke-linecap:round}.mark-now{fill:var(--now)}
.mark-est{fill:var(--card);stroke:var(--now);stroke-width:2;stroke-dasharray:3 2}
.good{background:var(--good)}.note-cell{background:var(--note)}.warn{background:var(--warn)}.bad{background:var(--bad)}
.idle{background:var(--ref)}.here{outline:2px solid var(--ink);outline-offset:1px}
.legend{display:flex;gap:16px;font-size:12.5px;color:var(--soft);margin:0 0 12px;flex-wrap:wrap}
.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.facts+.grid{margin-top:12px}.facts{margin:8px 0 0;font-size:13.5px;color:var(--soft)}
.strip+.legend{gap:2px 14px;margin:10px 0 0}
.places{margin:0;padding:0;list-style:none;font-size:14px}.places li{padding:3px 0;overflow-wrap:anywhere}
details{margin-top:14px}summary{cursor:pointer;color:var(--soft);font-size:14px}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13px;margin-top:10px}
th{text-align:left;color:var(--soft);font-weight:600;border-bottom:1px solid var(--line);padding:6px 10px 6px 0;
white-space:nowrap}
td{border-bottom:1px solid var(--line);padding:5px 10px 5px 0}td.n,th.n{text-align:right;
font-variant-numeric:tabular-nums}
footer{margin-top:28px;color:var(--soft);font-size:13px;max-width:92ch}footer p{margin:0 0 6px}
a{color:var(--now)}code{font-size:12px}
@media(max-width:760px){.row{grid-template-columns:1fr}main{padding:16px}header{padding:18px 20px}.why{font-size:16px}}
@media print{body{background:#fff}.card,header{break-inside:avoid}}
"""
