"""Our small files of scenarios, by domain."""

from pathlib import Path

FILES = Path(__file__).parent / "fixtures" / "scenarios"
NAMES = {"math": "problems.jsonl", "document": "articles.jsonl", "medical": "cases.jsonl"}
