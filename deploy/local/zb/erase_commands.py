"""`zb erase` and `zb hold`: what becomes of a data subject. The work is scheduling's; this names the subject and shows."""

import json
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from zb.office import Person
from zb.running import running, someone

SITE: Final = "site/"

SUBJECT = click.argument("subject", metavar="SUBJECT")
AGENCY = click.option("--agency", default="main", show_default=True, help="of the site")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="the whole report as one JSON object")


@click.command("erase", short_help="Destroy the keys of a data subject, for ever.")
@SUBJECT
@AGENCY
@click.option("--picture", "pictures", multiple=True, metavar="SHA256", help="a picture that shows the subject; may be repeated")
@click.option("--report", "only_report", is_flag=True, help="destroy nothing, say what is there")
@AS_JSON
@click.pass_obj
def erase(folder: Path, subject: str, agency: str, pictures: tuple[str, ...], only_report: bool, as_json: bool) -> None:
    """Destroy the keys of SUBJECT, and say what was sealed under them, which pictures go with them and what stays.

    SUBJECT is an id, site/REFERENCE, or signer-EVENT for whoever signed in that event. Refused under a legal hold, and where a
    law keeps all that is there.
    """
    person, url = _desk(folder, subject, agency)
    _show(person.get(url) if only_report else person.post(f"{url}/erasure", {"pictures": list(pictures)}), as_json)


@click.command("hold", short_help="Put a data subject under legal hold, or lift it.")
@SUBJECT
@AGENCY
@click.option("--case", help="the number of the case; never a person's name")
@click.option("--lift", is_flag=True, help="end the hold")
@AS_JSON
@click.pass_obj
def hold(folder: Path, subject: str, agency: str, case: str | None, lift: bool, as_json: bool) -> None:
    """Keep every key of SUBJECT (an id, or site/REFERENCE), whatever is asked and whatever expires, until it is lifted."""
    if lift == (case is not None):
        raise click.UsageError("say either --case NUMBER or --lift")
    person, url = _desk(folder, subject, agency)
    _show(person.call("DELETE", f"{url}/hold") if lift else person.put(f"{url}/hold", {"case": case}), as_json)


def _desk(folder: Path, subject: str, agency: str) -> tuple[Person, str]:
    """The administrator, and the address of the subject."""
    run = running(folder / "up")
    person = someone(folder / "up", run, "administrator")
    url = f"http://127.0.0.1:{run['ports']['scheduling']}/v1/subjects"
    if subject.startswith(SITE):
        subject = person.get(url, site_reference=subject.removeprefix(SITE), agency=agency)["subject"]
    return person, f"{url}/{subject}"


def _show(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report))
        return
    console = Console(highlight=False, soft_wrap=True)
    held = report["hold"]
    console.print(
        f"{report['subject']} of {report['agency']}" + (f", held for {held['case']} since {held['since']}" if held else "")
    )
    for name in ("destroyed", "living"):
        for key in report[name]:
            when = key["destroyed_at"] or key["made_at"]
            why = f": {key['kept_because']}" if key["kept_because"] else ""
            console.print(f"{name} {key['kid']} ({key['purpose']}), {when}{why}")
            for value in key["values"]:
                console.print(f"    {value['field']} of {value['stream']}, event {value['event']}")
    for sha256 in report["pictures"]:
        console.print(f"picture {sha256}: the evidence store was told to erase it")
    console.print("what stays:")
    for each in report["stays"]:
        console.print(f"    {each['what']}: {each['why']}")
