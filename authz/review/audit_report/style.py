"""The style of the report: readable in light and dark, and on paper."""

from base64 import b64encode
from hashlib import sha256
from typing import Final

STYLE: Final = """\
:root {
  color-scheme: light dark;
  --ink: #1b1f24; --paper: #fff; --line: #c9d1d9; --soft: #f3f5f7; --bad: #a40e26; --good: #116329;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6edf3; --paper: #0d1117; --line: #3d444d; --soft: #161b22;
    --bad: #ff8182; --good: #56d364;
  }
}
body {
  margin: 0 auto; max-width: 76rem; padding: 1.5rem;
  font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
}
h1 { font-size: 1.6rem; margin: 0; }
h2 {
  font-size: 1.2rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--line);
}
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
a { color: inherit; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-size: .875rem; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td {
  text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; unicode-bidi: isolate;
}
thead th { background: var(--soft); overflow-wrap: normal; }
tbody th { font-weight: 400; }
.number { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
.note { font-style: italic; }
.bad { color: var(--bad); font-weight: 600; }
.good { color: var(--good); font-weight: 600; }
@media print {
  :root {
    --ink: #000; --paper: #fff; --line: #999; --soft: #eee; --bad: #000; --good: #000;
  }
  nav { display: none; }
  body { max-width: none; padding: 0; font-size: 9pt; }
  thead { display: table-header-group; }
  tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""
# The hash of the style allows it alone: no script, no image, no address can be loaded, even if a
# text were not escaped.
POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; "
    f"style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'"
)
