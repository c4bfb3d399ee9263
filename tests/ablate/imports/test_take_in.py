"""Tables of other programs are imported unchanged, or are refused with the options to type."""

from __future__ import annotations

import csv
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from ablate.cli.main import main
from ablate.errors import UsageError
from ablate.imports import LayoutOptions, import_scores, preview
from ablate.imports.file import axis_value, read_scores
from ablate.paths import study_paths
from ablate.record import scan
from ablate.study import load_table

APOLLO = Path(__file__).resolve().parents[3] / "analysis" / "published" / "apollo" / "scaling_consistency_t14_t15.csv"
SCALES = {
    "Qwen2-0.5B-Instruct": "0.5B",
    "Qwen2-1.5B-Instruct": "1.5B",
    "Qwen1.5-4B-Chat": "4B",
    "Qwen2-7B-Instruct": "7B",
}
LONG = ["--column", "design=variant", "--column", "scale=llm", "--column", "score=average"]
AXES = ["--axis", "data_mix=data_mixture", "--axis", "vision=vision_inferred", "--axis", "fps", "--ignore-rest"]
RENAMES = [part for theirs, ours in SCALES.items() for part in ("--rename", f"scale:{theirs}={ours}")]


@dataclass
class Done:
    stdout: str
    stderr: str


@pytest.fixture
def ablate(monkeypatch):
    def ablate(*arguments: object, code: int = 0) -> Done:
        out, err, exit_code = io.StringIO(), io.StringIO(), 0
        monkeypatch.setattr("sys.argv", ["ablate", *map(str, arguments)])
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as stop:
                exit_code = int(stop.code or 0)
        assert exit_code == code, out.getvalue() + err.getvalue()
        return Done(out.getvalue(), err.getvalue())

    return ablate


@pytest.fixture
def take(tmp_path, ablate):
    """Import a text with options; the exit code must be `code`."""

    def take(text: str | bytes, *options: object, code: int = 0, name: str = "t.csv", study: str = "s") -> Done:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return ablate("import", tmp_path / name, "--study", study, *options, code=code)

    return take


@pytest.fixture
def refused(take, tmp_path):
    """The one line of a refusal, after which nothing was written."""

    def refused(text: str | bytes, *options: object, name: str = "t.csv") -> str:
        done = take(text, *options, code=2, name=name)
        assert done.stdout == ""
        assert done.stderr.startswith("ablate: ")
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "runs").exists()
        return done.stderr

    return refused


def axes_of(study: str = "s") -> dict[str, dict[str, object]]:
    return {record.about.label: record.about.axes for record in scan(study_paths(study))}


def wide_apollo(delimiter: str = ",") -> str:
    """The published scores with a column for each scale."""
    with APOLLO.open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_design: dict[str, dict[str, str]] = {}
    for row in rows:
        by_design.setdefault(row["variant"], {"mix": row["data_mixture"]})[row["llm"]] = row["average"]
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(["variant", "mix", *SCALES])
    writer.writerows([design, cells["mix"], *(cells[scale] for scale in SCALES)] for design, cells in by_design.items())
    return out.getvalue()


# --- the published table ----------------------------------------------------------------------------


def test_the_published_table_is_imported_unchanged(ablate):
    output = json.loads(ablate("import", APOLLO, "--study", "theirs", *LONG, *AXES, *RENAMES, "--json").stdout)
    assert output == {"study": "theirs", "trials": 84, "unchanged": 0, "skipped": 0, "notes": []}
    command = ("consistency", "--study", "theirs", "--small", "1.5B", "--large", "7B", "--json")
    answer = json.loads(ablate(*command).stdout)
    assert (round(answer["r2"], 3), answer["n"]) == (0.831, 21)
    assert axes_of("theirs")["v04@7B/s0"] == {"design": "v04", "data_mix": "A", "vision": "frozen", "fps": 3.2}
    again = json.loads(ablate("import", APOLLO, "--study", "theirs", *LONG, *AXES, *RENAMES, "--json").stdout)
    assert again["unchanged"] == 84


@pytest.mark.parametrize(("name", "delimiter"), [("w.csv", ","), ("w.tsv", "\t"), ("w.csv", ";")])
def test_a_table_with_a_column_for_each_scale_is_the_same(take, ablate, name, delimiter):
    columns = ",".join(f"{theirs}={ours}" for theirs, ours in SCALES.items())
    layout = ("--column", "design=variant", "--axis", "mix", "--wide", "scale", "--columns", columns)
    assert "84 trials" in take(wide_apollo(delimiter), *layout, name=name).stdout
    answer = json.loads(ablate("consistency", "--study", "s", "--small", "1.5B", "--large", "7B", "--json").stdout)
    assert round(answer["r2"], 3) == 0.831


def test_a_dry_run_shows_the_interpretation_and_writes_nothing(ablate, tmp_path):
    done = ablate("import", APOLLO, "--study", "theirs", *LONG, *AXES, *RENAMES, "--dry-run")
    assert not (tmp_path / "runs").exists()
    assert "84 trials, 84 scores; higher is better" in done.stdout
    assert "scales: 0.5B (21 designs), 1.5B (21 designs), 4B (21 designs), 7B (21 designs)" in done.stdout
    assert "axis vision: frozen, trainable" in done.stdout
    assert "ignored columns: row, vision_towers, clip_duration_s" in done.stdout
    assert "trials: 84 new, 0 unchanged, 0 extended, 0 in conflict" in done.stdout
    assert done.stderr == ""
    output = json.loads(ablate("import", APOLLO, "--study", "theirs", *LONG, *AXES, "--dry-run", "--json").stdout)
    assert output["scales"] == dict.fromkeys(sorted(SCALES), 21)
    assert output["axes"]["fps"] == [1.6, 3.2]
    assert output["rows"][0]["score"] == 46.37
    assert len(output["new"]) == 84


# --- columns ----------------------------------------------------------------------------------------


def test_a_missing_column_is_reported_with_options_to_type(ablate, refused):
    message = ablate("import", APOLLO, "--study", "s", code=2).stderr
    assert "column 'design' is missing; it has row, llm, variant" in message
    assert " ".join(LONG) in message
    message = ablate("import", APOLLO, "--study", "s", *LONG, code=2).stderr
    assert "unknown columns 'row', 'vision_towers'" in message
    assert "--axis row --axis vision_towers" in message
    assert "--ignore row --ignore vision_towers" in message
    assert "--ignore-rest" in message
    message = refused("name,1.5B,7B\na,1,2\n")
    assert "--wide scale --columns 1.5B,7B --column design=name" in message
    assert "--constant scale=VALUE" in refused("name,accuracy\na,1\n")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--column desing=model", "'desing' is not one of our columns (did you mean 'design'?)"),
        ("--column model=design", "did you mean --column design=model?"),
        ("--column design", "write it as OURS=THEIRS, e.g. --column design=variant"),
        ("--column design=modell", "has no column 'modell' (did you mean 'model'?); it has: model, size, acc, fps"),
        ("--column design=model --column design=size", "design is given twice, first as 'model'"),
        ("--column scale=size --constant scale=7B", "by --column and by --constant"),
        ("--axis fsp", "--axis fsp: t.csv has no column 'fsp' (did you mean 'fps'?)"),
        ("--axis scale=size", "'scale' is one of our columns; give the axis another name"),
        ("--axis fps --axis fps", "the axis is given twice"),
        ("--axis fps --ignore fps", "--ignore fps: another option uses this column"),
        ("--ignore fsp", "did you mean 'fps'?"),
        ("--constant score=1", "give a value that all rows share"),
        ("--rename scale=7B", "write it as OURS:THEIRS=VALUE"),
        ("--rename scael:a=7B", "'scael' is neither one of our columns nor an --axis (did you mean 'scale'?)"),
        ("--rename scale:a=7B --rename scale:a=8B", "scale 'a' is renamed twice, first to '7B'"),
        ("--columns a,b", "state with --wide what the headers contain"),
        ("--wide scale", "name the columns, e.g. --columns model,size,acc,fps"),
        ("--wide scale --columns acc --column scale=size", "with --wide scale, --columns gives the scale"),
        ("--wide scale --columns acc,acc", "'acc' is listed twice"),
        ("--wide scale --columns acc=7B,fps=7B", "two headers have the value '7B'"),
        ("--wide scale --columns acc,", "'' is empty"),
        ("--wide metric --columns acc=/x --column design=model --column scale=size --ignore fps", "is not a metric"),
    ],
)
def test_mistakes_in_options_are_reported_with_the_fix(refused, tmp_path, monkeypatch, options, says):
    assert says in refused("model,size,acc,fps\na,1B,1,2\n", *options.split()).replace(f"{tmp_path}/", "")


def test_similar_names_and_our_columns_are_suggested(refused):
    message = refused("design,scale,score,sed,benchmark name\na,1B,1,0,x\n")
    assert "unknown columns 'sed', 'benchmark name'" in message
    assert "--axis sed --axis 'benchmark name'" in message
    assert "--column seed=sed" in message


def test_a_constant_replaces_a_missing_column(take, refused):
    text = "model,score\na,1\nb,2\n"
    assert "'sclae' is not one of our columns" in refused(text, "--constant", "sclae=7B")
    take(text, "--column", "design=model", "--constant", "scale=7B")
    assert load_table("s").scales == ("7B",)
    message = take("design,scale,score\na,1B,1\n", "--constant", "scale=7B", code=2, study="t").stderr
    assert "--ignore scale" in message
    take("design,scale,score\na,1B,1\n", "--constant", "scale=7B", "--ignore", "scale", study="t")
    assert load_table("t").scales == ("7B",)


def test_a_rename_that_matches_no_value_is_refused(refused, take):
    text = "design,scale,score\na,Qwen2-7B-Instruct,1\nb,Qwen2-7B-Instruct,N/A\n"
    message = refused(text, "--rename", "scale:Qwen2-7B-Instuct=7B", "--rename", "score:N/A=")
    assert "no scale of" in message
    assert "did you mean 'Qwen2-7B-Instruct'?" in message
    assert "1 trials" in take(text, "--rename", "scale:Qwen2-7B-Instruct=7B", "--rename", "score:N/A=").stdout


# --- axes -------------------------------------------------------------------------------------------


def test_axes_are_numbers_where_the_cell_is_one(take):
    take(
        "design,scale,score,frames,lr,mix,note\na,1B,1,8,1e-4,A,\nb,1B,2,16,0.5,x=y,nan\n",
        *("--axis", "frames", "--axis", "lr", "--axis", "mix", "--axis", "note", "--rename", "mix:x=y=B"),
    )
    assert axes_of() == {
        "a@1B/s0": {"design": "a", "frames": 8, "lr": 1e-4, "mix": "A"},
        "b@1B/s0": {"design": "b", "frames": 16, "lr": 0.5, "mix": "B", "note": "nan"},
    }
    assert [axis_value(cell) for cell in ("1_0", "inf", "9" * 30, "-3", "5.0")] == ["1_0", "inf", "9" * 30, -3, 5.0]


def test_a_design_has_one_value_of_an_axis(refused, take):
    text = "design,scale,score,fps\na,1B,1,2\nb,1B,1,2\na,7B,1,4\n"
    assert "t.csv:4: design 'a' has fps '4' here, but '2' in line 2" in refused(text, "--axis", "fps")
    take("design,scale,score,fps\na,1B,1,2\n", "--axis", "fps")
    other = "design,scale,score,fps\na,7B,1,4\n"
    message = take(other, "--axis", "fps", code=2).stderr
    assert "1 trials of study 's' have other axes already, first a@7B/s0; --replace overwrites" in message
    take(other, "--axis", "fps", "--replace")
    assert axes_of() == {f"a@{scale}/s0": {"design": "a", "fps": 4} for scale in ("1B", "7B")}


def test_an_axis_that_was_left_out_joins_later_and_stays(take):
    take("design,scale,score\na,1B,1\na,7B,2\n")
    output = json.loads(take("design,scale,score,fps\na,7B,2,4\n", "--axis", "fps", "--dry-run", "--json").stdout)
    assert (output["extended"], output["new"], output["conflicts"]) == (["a@7B/s0"], [], [])
    take("design,scale,score,fps\na,7B,2,4\n", "--axis", "fps")
    assert {axes["fps"] for axes in axes_of().values()} == {4}
    take("design,scale,benchmark,score\na,7B,other,3\n")
    assert {axes["fps"] for axes in axes_of().values()} == {4}


# --- wide -------------------------------------------------------------------------------------------


def test_headers_are_metrics(take):
    text = 'model,overall,"ocr, dense",mvbench/overall\na,1,2,3\nb,4,,6\n'
    layout = ("--column", "design=model", "--constant", "scale=7B", "--wide", "metric")
    done = take(text, *layout, "--columns", 'overall,"ocr, dense=ocr"', "--columns", "mvbench/overall")
    assert "2 trials, 0 of them imported before, 1 rows without a score" in done.stdout
    assert load_table("s").metrics() == ("mvbench/overall", "s/ocr", "s/overall")
    take(text, *layout, "--columns", "overall", "--constant", "benchmark=mine", "--ignore-rest", study="t")
    assert load_table("t").metrics() == ("mine/overall",)


def test_a_benchmark_of_header_and_column_clash(refused):
    text = "design,scale,benchmark,mvbench/overall\na,1B,x,1\n"
    message = refused(text, "--wide", "metric", "--columns", "mvbench/overall")
    assert "names a benchmark, as column 'benchmark'" in message


def test_headers_are_seeds(take):
    text = "design,scale,s0,s1\na,1B,1,3\nb,1B,2,\n"
    take(text, "--wide", "seed", "--columns", "s0=0,s1=1")
    frame = load_table("s").select(None).per_seed("1B")
    assert frame.loc["a"].tolist() == [1, 3]
    assert (
        "seed 'x' is not a non-negative integer" in take(text, "--wide", "seed", "--columns", "s0=x,s1", code=2).stderr
    )


# --- files as other programs write them --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("design,scale,score\na,1B,46.4%\n", "score '46.4%' is not a number; write 46.4:"),
        ('design,scale,score\na,1B,"46,37"\n', "write 46.37: a decimal point"),
        ('design,scale,score\na,1B,"1,234.5"\n', "write 1234.5:"),
        ('design,scale,score\na,1B,"1.234,5"\n', "write 1234.5:"),
        ('design,scale,score\na,1B,"1,234"\n', "write 1234 or 1.234, whichever is meant"),
        ('design,scale,score\na,1B,"46,3 %"\n', "write 46.3:"),
        ("design;scale;score\na;1B;46,3\n", "write 46.3:"),
        (
            'design,scale,samples,score\na,1B,"750,000",1\n',
            "samples '750,000' is not a non-negative integer; write 750000",
        ),
        ("design,scale,score\na,1B,1\n\nb,1B,2\na,1B,3\n", "t.csv:5: the same trial and benchmark as line 2"),
        ('design,scale,score\n"a\nb",1B,1\n"a\nb",1B,x\n', "t.csv:4: score 'x'"),
        ("design,scale,score,score\na,1B,1,2\n", "duplicate columns: score"),
        ("design,scale,,,score\na,1B,x,y,2\n", "duplicate columns: several have no name"),
        ('design,scale,score\na,1B,"1\n', "t.csv:2: not a valid CSV row"),
        ("design,scale,score\na,b,1B,1\n", "a cell that contains ',' must be in double quotes"),
        ("design,scale,score\n", "contains no score"),
        ("\n\n", "it is empty"),
        (b"", "it is empty"),
        ("design,scale,score\na,1B,1\n".encode("utf-16"), "save it as CSV in UTF-8"),
        (b"PK\x03\x04\xff", "save it as CSV in UTF-8"),
    ],
)
def test_a_hostile_file_is_refused_whole(refused, text, says):
    assert says in refused(text)


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfdesign,scale,score\r\na b,1B,1\r\n",
        b"design,scale,score\ra b,1B,1\r",
        b'"design";"scale";"score"\r\n"a\r\nb";"1B";"1"\r\n',
        b"design\tscale\tscore\na b\t1B\t1\n",
        b"\ndesign, scale ,score,,\na b,1B,1,,\n,,,,\n",
    ],
    ids=["BOM and CRLF", "CR", "quoted, semicolons", "tabs in a .csv", "a spreadsheet's empty rows and columns"],
)
def test_files_that_spreadsheets_write_are_read(take, text):
    take(text)
    assert list(axes_of()) == ["a b@1B/s0"]


def test_the_column_without_name_that_pandas_writes(take, refused):
    text = ",scale,score\na,1B,1\n"
    assert "--column design=''" in refused(text)
    take(text, "--column", "design=")
    assert list(axes_of()) == ["a@1B/s0"]
    take(",design,scale,score\n0,a,1B,1\n", "--ignore", "", study="t")
    assert list(axes_of("t")) == ["a@1B/s0"]


# --- direction, conflicts ---------------------------------------------------------------------------


def test_a_metric_whose_name_suggests_the_other_direction_is_noted(take):
    text = "design,scale,{}\na,1B,1\nb,1B,2\n"
    for name in ("eval_loss", "valLoss", "WER", "bpb"):
        done = take(text.format(name), "--column", f"score={name}", "--dry-run")
        assert (
            f"note: '{name}' looks like a loss, but higher is assumed to be better; give --lower-is-better"
            in done.stderr
        )
        assert take(text.format(name), "--column", f"score={name}", "--lower-is-better", "--dry-run").stderr == ""
    done = take(text.format("top1_acc"), "--column", "score=top1_acc", "--lower-is-better")
    assert "'top1_acc' looks like an accuracy, but lower is assumed to be better" in done.stderr
    assert take(text.format("glossary"), "--column", "score=glossary", study="t").stderr == ""
    output = json.loads(take("design,scale,category,score\na,1B,ppl,1\n", "--json", study="u").stdout)
    assert "'u/ppl' looks like a loss" in output["notes"][0]


def test_a_dry_run_reports_conflicts_and_an_import_refuses_them(take):
    take("design,scale,samples,score\na,1B,10,1\nb,1B,10,2\n")
    text = "design,scale,samples,score\na,1B,10,1\nb,1B,20,9\nc,1B,10,3\n"
    done = take(text, "--dry-run")
    assert "trials: 1 new, 1 unchanged, 0 extended, 1 in conflict" in done.stdout
    assert "1 trials of study 's' have other scores and samples already, first b@1B/s0" in done.stderr
    assert "--replace" in take(text, code=2).stderr
    assert len(axes_of()) == 2
    assert "1 of them imported before" in take(text, "--replace").stdout
    assert load_table("s", samples=20).frame["score"].tolist() == [9]
    take("design,scale,benchmark,score\nb,1B,other,5\n")  # without the number of training samples: it stays
    assert {record.about.samples for record in scan(study_paths("s"))} == {10, 20}


def test_a_layout_works_without_the_command_line(tmp_path):
    (tmp_path / "t.csv").write_text("design,scale,score\na,1B,1\n")
    layout = LayoutOptions(axis=["d=design"]).layout()
    assert read_scores(tmp_path / "t.csv", "s", layout).axes == {"a": {"d": "a"}}
    assert import_scores(tmp_path / "t.csv", "s", layout, lower_is_better=False, replace=False).trials == 1
    with pytest.raises(UsageError, match="built-in"):
        preview(tmp_path / "t.csv", "apollo", layout, lower_is_better=False)


@pytest.mark.slow
def test_a_huge_file_takes_seconds(tmp_path):
    rows = (f"d{d},{s},t{t},{d % 5},{t}" for d in range(250) for s in ("1B", "7B") for t in range(200))
    (tmp_path / "t.csv").write_text("\n".join(["design,scale,benchmark,mix,score", *rows]))
    layout = LayoutOptions(axis=["mix"]).layout()
    assert import_scores(tmp_path / "t.csv", "s", layout, lower_is_better=False, replace=False).trials == 500
