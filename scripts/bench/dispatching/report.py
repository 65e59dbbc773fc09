"""The numbers as a Markdown table."""


def table(found):
    """One row a number."""
    rows = []
    for what, numbers in found.items():
        flatten(what, numbers, rows)
    return "\n".join(f"| {name} | {value} |" for name, value in rows)


def flatten(name, value, rows):
    if isinstance(value, dict):
        for key, inner in value.items():
            flatten(f"{name} {key}", inner, rows)
    else:
        rows.append((name, f"{value:.2f}" if isinstance(value, float) else value))
