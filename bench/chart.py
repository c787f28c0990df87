"""Draws docs/performance.svg from the cells that ``bench.run --json`` wrote."""

import json
import sys
from pathlib import Path
from typing import Final

BARS: Final = (
    ("stock", "grpcio, constant answer"),
    ("bare", "our transport, constant answer"),
    ("ours-stock", "our decision on grpcio's defaults"),
    ("ours", "agent-authz, remembered decision"),
    ("ours, new path", "agent-authz, known token, new path"),
    ("ours, MCP call", "agent-authz, MCP tool call of 2 KB"),
    ("ours, cold RS256", "agent-authz, new RS256 token"),
    ("ours, cold ES256", "agent-authz, new ES256 token"),
)
WIDTH: Final = 720
LEFT: Final = 250
ROW: Final = 30


def chart(cells: dict[str, dict[str, float]]) -> str:
    """The picture: CPU of a check at 32 in flight."""
    values = [cells[f"{name}|32"]["cpu"] for name, _ in BARS]
    scale = (WIDTH - LEFT - 70) / max(values)
    height = ROW * len(BARS) + 50
    size, font = f"0 0 {WIDTH} {height}", 'font-family="sans-serif" font-size="13"'
    title = "CPU of a check, microseconds, at 32 in flight (less is better)"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {font}>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="22" font-weight="bold">{title}</text>',
    ]
    for at, ((name, label), value) in enumerate(zip(BARS, values, strict=True)):
        y = 40 + ROW * at
        colour = "#2f6f9f" if name.startswith("ours") and name != "ours-stock" else "#9aa5ad"
        lines.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{label}</text>')
        lines.append(
            f'<rect x="{LEFT}" y="{y}" width="{value * scale:.0f}" height="20" fill="{colour}"/>'
        )
        lines.append(f'<text x="{LEFT + value * scale + 6:.0f}" y="{y + 15}">{value:.0f}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    cells_of_run = json.loads(Path(sys.argv[1]).read_text())
    Path("docs/performance.svg").write_text(chart(cells_of_run))
