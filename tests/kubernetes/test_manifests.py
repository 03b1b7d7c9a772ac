"""The manifests are what Kubernetes takes, run what ops/processes.py says, and stop nobody in the middle of a sale."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from models.settings import Settings
from ops.processes import MIGRATE, Process, application

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "ops/kubernetes"
VERSION = "1.35"
# The kinds of KEDA and of Prometheus's operator are in no schema of Kubernetes.
NOT_KUBERNETES = ("kustomize.config.k8s.io/", "keda.sh/", "monitoring.coreos.com/")
OURS = {"web", "live", "worker", "chores", "beat", "flower"}
SECRETS = {"DATABASE_URL", "REDIS_URL", "JWT_SECRET_KEY", "FLOWER_BASIC_AUTH"}

Manifest = dict[str, Any]


def documents() -> Iterator[tuple[Path, Manifest]]:
    for file in sorted(KUBERNETES.glob("**/*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            yield file, document


def of_kind(kind: str) -> dict[str, Manifest]:
    return {found["metadata"]["name"]: found for _, found in documents() if found["kind"] == kind}


def name(pair: tuple[Path, Manifest]) -> str:
    return f"{pair[0].parent.name}/{pair[0].stem}-{pair[1]['kind']}"


def pod(manifest: Manifest) -> Manifest:
    return manifest["spec"]["template"]["spec"]


def table() -> dict[str, Process]:
    known = Settings.model_construct(**{key: field.default for key, field in Settings.model_fields.items()})
    everywhere = known.model_copy(update={"host": "0.0.0.0"})  # noqa: S104 - read, not bound
    return {process.name: process for process in (*application(everywhere), MIGRATE)}


@pytest.mark.parametrize(
    "pair", [pair for pair in documents() if not pair[1]["apiVersion"].startswith(NOT_KUBERNETES)], ids=name
)
def test_every_manifest_stands_up_to_the_schema(pair: tuple[Path, Manifest]) -> None:
    kubernetes_validate.validate(pair[1], VERSION, strict=True)


def test_the_schema_does_find_a_misspelt_word() -> None:
    """The control."""
    web = of_kind("Deployment")["web"]
    web["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 5

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(web, VERSION, strict=True)


def test_every_file_is_part_of_a_kustomization_and_every_part_is_there() -> None:
    for kustomization in KUBERNETES.glob("**/kustomization.yaml"):
        folder = kustomization.parent
        resources = yaml.safe_load(kustomization.read_text())["resources"]

        assert {file.name for file in folder.glob("*.yaml")} - {kustomization.name} <= set(resources)
        assert all((folder / resource).exists() for resource in resources)


def test_what_runs_is_what_the_table_of_processes_says() -> None:
    running = of_kind("Deployment") | of_kind("Job")

    assert running.keys() == OURS | {"migrate"}
    for part, manifest in running.items():
        [container] = pod(manifest)["containers"]
        assert container["command"] == ["python", *table()[part].command(1)], part


def test_everybody_has_the_time_to_finish_that_the_table_gives_them() -> None:
    for part, manifest in of_kind("Deployment").items():
        [container] = pod(manifest)["containers"]
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod(manifest)["terminationGracePeriodSeconds"] - pause >= table()[part].grace_seconds, part


def test_nobody_is_root_or_writes_to_the_image_or_goes_without_a_bound() -> None:
    for part, manifest in (of_kind("Deployment") | of_kind("Job")).items():
        spec = pod(manifest)
        assert spec["securityContext"]["runAsNonRoot"], part
        assert spec["automountServiceAccountToken"] is False, part
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            confined = container["securityContext"]
            assert confined["readOnlyRootFilesystem"], part
            assert not confined["allowPrivilegeEscalation"], part
            assert confined["capabilities"] == {"drop": ["ALL"]}, part
            assert container["resources"]["limits"]["memory"], part


def test_whoever_hangs_is_replaced_and_whoever_serves_leaves_one_after_the_other() -> None:
    for part, manifest in of_kind("Deployment").items():
        [container] = pod(manifest)["containers"]
        assert "livenessProbe" in container, part
        assert manifest["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, part
    budgets = of_kind("PodDisruptionBudget")
    assert budgets.keys() == {"web", "live", "worker"}
    for part, budget in budgets.items():
        labels = of_kind("Deployment")[part]["spec"]["template"]["metadata"]["labels"]
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_everybody_waits_for_the_migration() -> None:
    for part, manifest in of_kind("Deployment").items():
        waits = [step["command"][2:] for step in pod(manifest).get("initContainers", [])]
        assert waits == ([] if part == "flower" else [["ops.health", "tables"]]), part


def test_no_secret_is_written_down_and_every_setting_is_one() -> None:
    lines = (KUBERNETES / "base/settings.env").read_text().splitlines()
    given = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}

    assert given <= {key.upper() for key in Settings.model_fields}
    assert not given & SECRETS
    kustomization = (KUBERNETES / "base/kustomization.yaml").read_text()
    assert all(f"--from-literal={secret}=" in kustomization for secret in SECRETS)


def test_what_is_scaled_is_there() -> None:
    scaled = {**of_kind("HorizontalPodAutoscaler"), **of_kind("ScaledObject")}

    assert scaled.keys() == {"web", "live", "worker"}
    for part, scaler in scaled.items():
        assert scaler["spec"]["scaleTargetRef"]["name"] == part


def test_the_measures_that_workers_and_sockets_are_scaled_by_are_told() -> None:
    told = "".join(file.read_text() for file in (ROOT / "models").glob("metrics*.py"))
    for part, scaler in of_kind("ScaledObject").items():
        query = scaler["spec"]["triggers"][0]["metadata"]["query"]
        assert any(f'"{measure}"' in told for measure in query.replace("(", " ").replace(")", " ").split()), part


def test_everybody_who_counts_is_asked_by_prometheus_at_a_port_that_is_there() -> None:
    asked = {}
    for monitor in of_kind("PodMonitor").values():
        [chosen] = monitor["spec"]["selector"]["matchExpressions"]
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        asked |= dict.fromkeys(chosen["values"], endpoint)

    assert asked.keys() == {"web", "live", "worker", "chores"}
    told = dict(
        line.split("=") for line in (KUBERNETES / "base/settings.env").read_text().splitlines() if line[:1].isupper()
    )
    for part, endpoint in asked.items():
        [container] = pod(of_kind("Deployment")[part])["containers"]
        ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
        setting = {"web": "PORT", "live": "LIVE_PORT"}.get(part, "METRICS_PORT")
        assert ports[endpoint["port"]] == told[setting], part
        # Whoever has a Service, or shares a port with buyers, is asked with the token.
        assert ("authorization" in endpoint) == (part in of_kind("Service")), part


def test_web_grows_by_its_processor_live_by_sockets_and_workers_by_lines() -> None:
    [measure] = of_kind("HorizontalPodAutoscaler")["web"]["spec"]["metrics"]
    queries = {part: each["spec"]["triggers"][0]["metadata"]["query"] for part, each in of_kind("ScaledObject").items()}

    assert measure["resource"]["name"] == "cpu"
    assert "doorbuster_sockets" in queries["live"]
    assert "doorbuster_line_" in queries["worker"]
    for part in ("web", "live"):
        [container] = pod(of_kind("Deployment")[part])["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), part
        assert "preStop" in container["lifecycle"], part
