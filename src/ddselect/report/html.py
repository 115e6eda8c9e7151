from pathlib import Path
def write_report(settings, results, trained, index, scores, path: Path) -> None:
    pass
