"""Secrets: their names, positions and spellings; all of them are redacted, and nothing else."""

from __future__ import annotations

import cProfile
import json
import pstats
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sft.config.experiment import Experiment
from sft.config.libraries.library import generation_arguments, peft_arguments, peft_types, trainer_arguments
from sft.config.reading.load import load_config
from sft.config.sections.schema import ExperimentConfig
from sft.errors import ConfigError
from sft.io import write_json
from sft.secrets import PLACEHOLDER, VARIABLE, join_secrets, masked, redact_text, redacted, remember, split_secrets
from sft.secrets.known import Known, known
from sft.secrets.names import is_secret_variable, names_secret
from sft.sweep.planning.jobs import config_of
from sft.sweep.single import load_experiment

CANARY = "canary-7c1f/9a+b\"é'x"


@pytest.fixture(autouse=True)
def _nothing_met_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own secrets."""
    forget(monkeypatch)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget all secrets, as in another process."""
    fresh = Known()
    monkeypatch.setattr(known, "_forms", fresh._forms)
    monkeypatch.setattr(known, "_read", fresh._read)
    monkeypatch.setattr(known, "_pattern", None)


SECRET_NAMES = (
    "token", "hf_token", "hub_token", "push_to_hub_token", "use_auth_token", "api_key", "apiKey", "APIKey", "apikey",
    "OPENAI_API_KEY", "password", "passwd", "db-password", "secret", "client_secret", "clientSecret", "credential",
    "credentials", "aws_access_key_id", "access_key", "secret_access_key", "private_key", "account_key", "sas_token",
    "connection_string", "authorization", "Authorization", "bearer", "cookie", "Set-Cookie", "X-Auth-Token",
    "X-Api-Key", "access_token", "accessToken", "refresh_token", "id_token", "auth", "api_keys", "accessKey",
    "openai_key", "kaggleKey", "HF_KEY", "db_pass", "rootPw", "github_pat", "slack_webhook_url", "sentry-dsn",
)  # fmt: skip
OTHER_NAMES = (
    "tokenizer", "tokenizer_name", "max_new_tokens", "min_new_tokens", "eos_token", "pad_token", "bos_token",
    "unk_token", "sep_token", "cls_token", "mask_token", "image_token", "audio_bos_token", "vision_start_token",
    "eos_token_id", "pad_token_id", "num_tokens", "num_virtual_tokens", "suppress_tokens", "stop_tokens",
    "additional_special_tokens", "word_delimiter_token", "flops_per_token", "key", "keys", "key_proj", "primary_key",
    "sort_key", "author", "authors", "passage", "bypass", "secretary", "tokens", "token_f1", "token_dim",
    "trainable_token_indices", "keyboard", "monkey_patch", "projection_prng_key", "string", "label_string",
    "forward_pass", "first_pass", "pattern", "passes", "patience", "path",
)  # fmt: skip


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_of_secrets(name: str) -> None:
    assert redacted({name: "short"}) == {name: PLACEHOLDER}
    assert redacted({name: [1, {"deep": "short"}]}) == {name: PLACEHOLDER}
    numbers = {name: [True, None, 3, 0.5, ""]}
    assert redacted(numbers) == numbers


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_names_of_other_things(name: str) -> None:
    assert redacted({name: "a value"}) == {name: "a value"}


def test_of_the_libraries_arguments_only_the_hub_token_is_a_secret() -> None:
    names = {*trainer_arguments(), *generation_arguments(), *(n for kind in peft_types() for n in peft_arguments(kind))}
    assert len(names) > 200
    assert {name for name in names if names_secret(name)} == {"hub_token"}


def test_a_key_in_storage_options_is_a_secret() -> None:
    options = {"key": "AK", "secret": "SK", "client_kwargs": {"endpoint_url": "http://x", "key": "AK"}}
    hidden = {"key": PLACEHOLDER, "secret": PLACEHOLDER}
    assert redacted({"storage_options": options, "key": "AK"}) == {
        "storage_options": {**hidden, "client_kwargs": {"endpoint_url": "http://x", "key": PLACEHOLDER}},
        "key": "AK",
    }


def test_labels_and_columns_may_have_any_name() -> None:
    data = {"verbalizers": {"password": "about a password", "token": "about a token"}, "dtype": {"token": "str"}}
    data["chat_template_kwargs"] = {"answer_token": "A.", "secret_word": "x"}
    assert redacted(data) == masked(data) == data


def test_a_key_of_a_template_is_a_secret_and_part_of_the_work() -> None:
    data = {"prompting": {"chat_template_kwargs": {"api_key": "tok-12345678", "tools": [{"password": "open sesame"}]}}}
    assert redacted(data) == {
        "prompting": {"chat_template_kwargs": {"api_key": PLACEHOLDER, "tools": [{"password": PLACEHOLDER}]}}
    }
    assert masked(data) == data


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@host/x.csv", "https://<redacted>@host/x.csv"),
        ("s3://AKIA:p@ss@bucket/x", "s3://<redacted>@bucket/x"),
        ("https://user:pa/ss@host/x", "https://<redacted>@host/x"),
        ("git+https://sometoken@host/x", "git+https://<redacted>@host/x"),
        ("https://h/x?a=1&token=t&b=2", "https://h/x?a=1&token=<redacted>&b=2"),
        (
            "https://h/x?X-Amz-Credential=a%2Fb&X-Amz-Date=2&X-Amz-Signature=f&X-Amz-Security-Token=s",
            "https://h/x?X-Amz-Credential=<redacted>&X-Amz-Date=2&X-Amz-Signature=<redacted>"
            "&X-Amz-Security-Token=<redacted>",
        ),
        ("https://h/x?sv=2024&se=2025&sp=r&sig=abc%3D", "https://h/x?sv=2024&se=2025&sp=r&sig=<redacted>"),
        ("https://h/x?api_key=1&key=2&password=3&auth=4&access_key=5#access_token=6", None),
        ("https://h/api?code=AbC123_-x&sid=2", "https://h/api?code=<redacted>&sid=<redacted>"),
        ("zip://a.csv::https://user:pass@host/x.zip", "zip://a.csv::https://<redacted>@host/x.zip"),
    ],
)
def test_urls_lose_their_credentials(url: str, shown: str | None) -> None:
    shown = shown or (
        "https://h/x?api_key=<redacted>&key=<redacted>&password=<redacted>&auth=<redacted>&access_key=<redacted>"
        "#access_token=<redacted>"
    )
    assert redact_text(url) == shown
    assert redact_text(f"GET '{url}' failed") == f"GET '{shown}' failed"
    assert redacted(redacted({"path": url})) == {"path": shown}


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/a@b", "hf://datasets/org/name@main/x.csv", "abfss://container@account.dfs.net/x",
        "https://h/x?page=2&sort=token&tokenizer=a&next_page=3", "file:///a/b@c", "see https://h/a, mail me@host",
    ],
)  # fmt: skip
def test_other_urls_stay(url: str) -> None:
    assert redact_text(url) == url


def test_credentials_of_a_url_are_found_alone() -> None:
    redact_text("https://me:hunter22%21x@host/x?token=tok-12345678")
    assert redact_text("401 for hunter22!x and tok-12345678") == "401 for <redacted> and <redacted>"


@pytest.mark.parametrize(
    "spell",
    [
        str, json.dumps, repr, quote, lambda text: quote(text, safe=""), lambda text: quote(text, safe="").lower(),
        lambda text: json.dumps(text, ensure_ascii=False), lambda text: f"…{text}…", lambda text: repr({"a": [text]}),
    ],
)  # fmt: skip
def test_variables_are_found_in_every_spelling(spell: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    shown = redact_text(f"before {spell(CANARY)} after")
    assert PLACEHOLDER in shown
    assert "canary" not in shown
    assert (shown[:7], shown[-6:]) == ("before ", " after")


def test_lines_of_a_private_key_are_found_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["-----BEGIN RSA PRIVATE KEY-----", "MIIEpAIBAAKCAQEA1234", "c2Vjb25kIGxpbmUgb2Yga2V5", "-----END"]
    monkeypatch.setenv("DEPLOY_PRIVATE_KEY", "\n".join(lines))
    assert redact_text(f"near {lines[2]!r}") == "near '<redacted>'"
    assert redact_text("\n".join(lines)) == PLACEHOLDER


@pytest.mark.parametrize(
    "text",
    [
        "login with hf_" + "aB3" * 12, "remote: ghp_" + "x9" * 18, "Authorization: Bearer abc.def.0123456789",
        "Authorization: Basic dXNlcjpwYXNzd29yZA==", "-----BEGIN PRIVATE KEY-----\nMIIE",
        "sk-proj-" + "Ab3_" * 9, "sk-ant-api03-" + "x9Y-" * 8, "AKIA" + "A2" * 8, "xoxb-123456789012-" + "aB3" * 8,
        "hooks: https://hooks.slack.com/services/T01ABCDEF/B02ABCDEF/" + "a1B2" * 6, "gsk_" + "a1B2" * 10,
        "wandb: api key " + "0123456789abcdef" * 2 + "01234567", "nvapi-" + "a1B2" * 10, "AIza" + "Sy1" * 12,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P", "glpat-" + "a1B2" * 5,
        "npm_" + "a1B2" * 9, "dckr_pat_" + "a1B2" * 6, "SG." + "a1B2c3D4e5F6g7H8i9J0k1" + "." + "a" * 43,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----",
    ],
)  # fmt: skip
def test_some_secrets_are_recognised_by_their_form(text: str) -> None:
    assert redact_text(text).endswith(PLACEHOLDER)
    assert redact_text("Basic classification of a bearer instrument") == "Basic classification of a bearer instrument"


@pytest.mark.parametrize(
    "text",
    [
        "0123456789abcdef" * 2 + "01234567", "sha256:" + "0a" * 32, "task-classification-of-long-names-2024",
        "meta-llama/Llama-3.2-1B-Instruct-very-long-name-0123456789", "/data/some/folder/with-many-parts-2024/x.csv",
        "sk-learn", "hf_hub_download", "a" * 500 + "1", "550e8400-e29b-41d4-a716-446655440000", "xoxo-love",
    ],
)  # fmt: skip
def test_hashes_paths_and_long_names_are_not_secrets(text: str) -> None:
    assert redact_text(text) == text


def test_names_of_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "WANDB_API_KEY", "MY_CREDENTIALS", "MYSQL_PWD"]
    secret += ["KAGGLE_KEY", "OPENAI_KEY", "DB_PASS", "GITHUB_PAT", "ROOT_PW", "SLACK_WEBHOOK_URL", "SENTRY_DSN"]
    secret += ["kaggle_key", "githubPat", "BASIC_AUTH", "SESSION_COOKIE", "SSH_PASSPHRASE", "OPENAI_APIKEY", "KEY"]
    other = ["PWD", "OLDPWD", "HF_TOKEN_PATH", "TOKENIZERS_PARALLELISM", "PATH", "HOME", "SSH_AUTH_SOCK", "LS_COLORS"]
    other += ["KEYBOARD", "COMPASS", "BYPASS_CACHE", "PATIENCE", "AUTHOR", "TOKENIZER", "XPWDX", "GOOGLE_AUTH_FILE"]
    assert [name for name in secret + other if is_secret_variable(name)] == secret


def test_values_that_are_not_secrets_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("A_SECRET", "short")
    monkeypatch.setenv("B_SECRET", str(tmp_path))
    monkeypatch.setenv("C_PASSWORD", "0" * 8)
    monkeypatch.setenv("D_PASSWORD", "redacted")
    monkeypatch.setenv("E_PASSWORD", "accuracy")
    text = f"short {tmp_path} sha256:{'0' * 64} {PLACEHOLDER}"
    assert redact_text(text) == text
    assert redacted({"accuracy": 0.5, "n": 12345678}) == {"accuracy": 0.5, "n": 12345678}


@pytest.mark.parametrize("word", ["positive", "negative\n", "überzeugt"])
def test_a_weak_password_removes_no_label_from_results(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", word)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{quote(word.strip())}@proxy:3128")
    labels = {"labels": [word.strip(), "other"], "secret_word": word}
    for _ in range(2):
        assert redacted(labels) == {"labels": [word.strip(), "other"], "secret_word": PLACEHOLDER}


@pytest.mark.parametrize("secret", ["positive1", "posi-tive", "abcdefghijklmnop"])
def test_a_value_that_is_not_a_plain_word_is_found(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", secret)
    assert redact_text(f"say {secret}") == "say <redacted>"


def test_a_config_s_own_password_is_found_even_if_it_is_a_word() -> None:
    assert redacted({"password": "sesameopen", "error": "not sesameopen"})["error"] == "not <redacted>"
    assert redacted({"storage_options": {"secret": "openersesam"}, "e": "openersesam"})["e"] == PLACEHOLDER


def test_a_secret_met_once_is_known_from_then_on() -> None:
    config = {"prompting": {"instruction": "say tok-12345678"}, "model": {"args": {"token": "tok-12345678"}}}
    assert redacted(config)["prompting"] == {"instruction": "say <redacted>"}
    assert redact_text("tok-12345678") == PLACEHOLDER


def test_remembering_is_enough() -> None:
    remember({"model": {"model_args": {"token": "tok-12345678"}}, "dataset": {"path": "https://u:pass12345@h"}})
    assert redact_text("tok-12345678 pass12345") == "<redacted> <redacted>"


def test_a_child_that_joins_knows_what_was_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """It also knows a secret that only another config of the same grid names."""
    remember({"token": "tok-12345678"})
    public, secrets = split_secrets({"instruction": "say tok-12345678 now", "a": {"tok-12345678 B": 1}})
    forget(monkeypatch)
    joined = join_secrets(public, secrets)
    assert joined == {"instruction": "say tok-12345678 now", "a": {"tok-12345678 B": 1}}
    assert redact_text("tok-12345678 say now") == "<redacted> say now"


def test_pointers_of_secrets() -> None:
    config = {"a/b~c.d": [{"token": "x"}, {"path": "https://u:p@h"}], "e": "https://u:p@h"}
    public, secrets = split_secrets(config)
    assert public == {
        "a/b~c.d": [{"token": PLACEHOLDER}, {"path": "https://<redacted>@h"}],
        "e": "https://<redacted>@h",
    }
    assert secrets == {"/a~1b~0c.d/0/token": "x", "/a~1b~0c.d/1/path": "https://u:p@h", "/e": "https://u:p@h"}
    assert split_secrets("https://u:p@h")[1] == {"": "https://u:p@h"}


@pytest.mark.parametrize("pointer", ["/b", "/a/x", "/a/7", "/a/0/b", "a"])
def test_an_invalid_pointer_is_refused_without_showing_the_secret(pointer: str) -> None:
    with pytest.raises(ValueError, match=r"no value at") as error:
        join_secrets({"a": ["x"]}, {pointer: CANARY})
    assert "canary" not in str(error.value)


def random_value(draw: random.Random, depth: int, texts: list[str]) -> Any:
    """Return a JSON value whose strings come from `texts`."""
    kind = draw.randrange(8) if depth else 7
    if kind < 3:
        names = [*SECRET_NAMES, *OTHER_NAMES, "storage_options", "verbalizers", "a/b", "c~d", "e.f", "", *texts]
        return {draw.choice(names): random_value(draw, depth - 1, texts) for _ in range(draw.randrange(5))}
    if kind < 5:
        return [random_value(draw, depth - 1, texts) for _ in range(draw.randrange(4))]
    return draw.choice([None, True, False, 0, -3, 1.5, *texts, *texts])


def leaves(value: Any) -> Iterator[Any]:
    """Return a number, a boolean or null."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    elif not isinstance(value, str):
        yield value


def test_split_secrets_can_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    texts = ["", "x", "https://u:canary99@h/x?token=canary98", "a.b", PLACEHOLDER, f"say {CANARY}", "canary97-long"]
    draw, split = random.Random(0), 0  # noqa: S311
    for _ in range(500):
        config = random_value(draw, 5, texts)
        before = json.dumps(config)
        public, secrets = split_secrets(config)
        assert public == redacted(config)
        assert redacted(public) == public
        json.loads(json.dumps(public, allow_nan=False))
        assert json.dumps(join_secrets(json.loads(json.dumps(public)), json.loads(json.dumps(secrets)))) == before
        assert json.dumps(config) == before
        split += bool(secrets)
    assert split > 100


def test_a_canary_under_a_secret_name_never_survives() -> None:
    draw = random.Random(1)  # noqa: S311
    for number in range(500):
        canary = f"cnry{number}"  # too short to be known by its value
        config = {draw.choice(SECRET_NAMES): random_value(draw, 3, [canary]), "n": number}
        for _ in range(draw.randrange(4)):
            config = {draw.choice(OTHER_NAMES): draw.choice([config, [config, "x"]])}
        shown = redacted(config)
        assert canary not in json.dumps(shown)
        assert number in leaves(shown)


def test_a_known_canary_survives_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", CANARY)
    draw = random.Random(2)  # noqa: S311
    for _ in range(300):
        value = random_value(draw, 5, [CANARY, f"a{CANARY}b", "x"])
        shown = redacted(value)
        for text in (json.dumps(shown), json.dumps(shown, ensure_ascii=False), repr(shown)):
            assert "canary" not in text


def test_no_two_keys_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "Token-AAAA1")
    monkeypatch.setenv("B_TOKEN", "Token-BBBB1")
    shown = redacted({"x Token-AAAA1": 1, "x Token-BBBB1": 2, "y": 3})
    assert sorted(shown.values()) == [1, 2, 3]


def test_the_work_to_redact_a_plan_grows_with_its_size() -> None:
    config = {
        "dataset": {"path": "hub/data", "args": {"data_files": {"train": "https://h/x?y=1"}}},
        "model": {"name": "hub/model", "model_args": {"token": "tok-12345678"}},
        "lora": {"r": 8, "target_modules": ["a", "b"], "init_lora_weights": "pissa"},
        "prompting": {"instruction": "Is this?", "input_columns": ["text"], "output_column": "label"},
        "training": {"trainer_args": {"learning_rate": 1e-4, "num_train_epochs": 5}},
    }
    calls = []
    for size in (1, 100, 1000):  # the first one makes what is kept
        plan = [{"name": f"run {n}", "id": f"{n:012x}", "config": config} for n in range(size)]
        with cProfile.Profile() as profile:
            shown = redacted(plan)
        calls.append(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]
        assert len(shown) == size
        assert "tok-" not in json.dumps(shown)
    assert calls[2] < 11 * calls[1]
    assert calls[2] < 1000 * 500


def test_messages_about_a_config_show_none_of_its_secrets(tmp_path: Path) -> None:
    """Even if the problem is the secret itself."""
    data = {
        "dataset": {"path": "hub/data", "task_type": "classification"},
        "model": {"name": "hub/model", "model_args": {"token": "tok-12345678"}},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "training": {"trainer_args": {"hub_token": ["tok-abcdefgh"]}},
        "inference": {"max_seq_length": "tok-12345678"},
    }
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "config.json")
    shown = redact_text(str(error.value))
    assert "max_seq_length" in shown
    assert "tok-" not in shown


# The identity of experiments


def experiment(**sections: Any) -> Experiment:
    data: dict[str, Any] = {
        "dataset": {"path": "hub/data", "task_type": "classification", "shots": 4},
        "model": {"name": "hub/model"},
        "lora": {"r": 8},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "training": {},
        "inference": {},
    }
    merged = {key: {**data[key], **sections.get(key, {})} for key in data}
    return Experiment("x", ExperimentConfig.model_validate(merged))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"model": {"model_args": {"token": "a"}}}, {"model": {"model_args": {"token": "b"}}}),
        (
            {"dataset": {"path": "https://u:p@h/x?sig=a", "args": {"storage_options": {"key": "a"}}}},
            {"dataset": {"path": "https://u:q@h/x?sig=b", "args": {"storage_options": {"key": "b"}}}},
        ),
    ],
)
def test_the_same_work_with_another_token_is_the_same_work(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert experiment(**one).id == experiment(**other).id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"dataset": {"path": "https://h/x?key=sheet1"}}, {"dataset": {"path": "https://h/x?key=sheet2"}}),
        ({"dataset": {"path": "ftp://ann:p@h/x"}}, {"dataset": {"path": "ftp://bob:p@h/x"}}),
        *(
            ({"dataset": {"path": one}}, {"dataset": {"path": one.replace("first", "second")}})
            for one in (
                "github://mteb:first@main/train.csv",
                "s3://u:x/train-first@v1.csv",
                "git://data:first@x.csv",
                "s3://u:first@bucket/x.csv",
                "sftp://host:/data/first@v1.csv",
                "https://first@host/x.csv",
                "hf://datasets/a:first@main/x.csv",
                "zip://a:first@b.csv::https://u:p@h/x.zip",
                "https://h/x?label_token=first",
                "https://h/x?signature=first",
                "https://h/x?secret_word=first",
            )
        ),
        *(
            (
                {"prompting": {"chat_template_kwargs": {name: "A."}}},
                {"prompting": {"chat_template_kwargs": {name: "B."}}},
            )
            for name in ("answer_token", "secret_word", "separator_token", "token", "password")
        ),
        *(
            ({"dataset": {"args": {name: "yes"}}}, {"dataset": {"args": {name: "no"}}})
            for name in ("label_token", "secret", "cookies", "auth", "first_key", "jwt_column")
        ),
        (
            {"prompting": {"instruction": "Say ?token=yes"}},
            {"prompting": {"instruction": "Say ?token=no"}},
        ),
        (
            {"prompting": {"verbalizers": {"password": "a", "b": "b"}}},
            {"prompting": {"verbalizers": {"password": "c", "b": "b"}}},
        ),
    ],
)
def test_different_work_has_another_id(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert experiment(**one).id != experiment(**other).id


@pytest.mark.parametrize(
    "name",
    [
        "token", "hf_token", "hub_token", "use_auth_token", "api_key", "apiKey", "OPENAI_API_KEY", "password",
        "aws_access_key_id", "secret_access_key", "client_secret", "connection_string", "Authorization",
    ],
)  # fmt: skip
def test_a_certain_credential_does_not_change_the_id(name: str) -> None:
    one, other = (experiment(dataset={"args": {"options": {name: value}}}) for value in ("a", "b"))
    assert one.id == other.id


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg2://u:{}@h/db", "sftp://u:{}@h/x", "git+https://u:{}@h/x", "https://h/x?X-Amz-Signature={}"],
)
def test_passwords_of_schemes_with_users_do_not_change_the_id(url: str) -> None:
    one, other = (experiment(dataset={"path": url.format(value)}) for value in ("a", "b"))
    assert one.id == other.id


def test_a_path_that_looks_like_a_user_does_not_redact_other_texts() -> None:
    assert redacted({"path": "github://mteb:sentiment@main/x.csv", "labels": ["sentiment"]}) == {
        "path": "github://mteb:sentiment@main/x.csv",
        "labels": ["sentiment"],
    }


def test_the_process_of_an_experiment_gets_its_whole_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All parts of its config that were redacted are restored, and so is the id."""
    monkeypatch.setenv("SOME_PASSWORD", "known-by-value-1")
    planned = experiment(
        dataset={"path": "s3://u:x/train-A@v1.csv", "args": {"label_token": "yes", "token": "tok-12345678"}},
        prompting={"chat_template_kwargs": {"answer_token": "A."}, "instruction": "say known-by-value-1"},
    )
    public, secrets = split_secrets(config_of(planned))
    write_json(tmp_path / "config.json", public)
    text = (tmp_path / "config.json").read_text()
    assert [secret for secret in ("tok-12345678", '"yes"', "known-by-value-1", "train-A@") if secret in text] == []
    monkeypatch.setenv(VARIABLE, json.dumps(secrets))
    ran = load_experiment(tmp_path / "config.json", "run-experiment", None)
    assert ran.id == planned.id
    assert ran.config.dataset == planned.config.dataset
    assert ran.config.prompting == planned.config.prompting


def test_an_id_does_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = experiment(prompting={"instruction": "classification"}).id
    monkeypatch.setenv("SOME_PASSWORD", "classification")
    assert experiment(prompting={"instruction": "classification"}).id == before


# Whole commands: no file and no output holds a secret

MARKER = "cnry"
SECRETS = {
    "environment": f'{MARKER}-env/8f3a+"x ü',
    "config": f"{MARKER}-config\\2b'c",
    "hub": f"{MARKER}-hub-token-77",
    "storage": f"{MARKER}-storage=1",
    "password": f"{MARKER}-pass:word",
    "signature": f"{MARKER}-signature-31",
}
URL = f"https://someone:{quote(SECRETS['password'], safe='')}@127.0.0.1:9/x.csv?sig={SECRETS['signature']}"
PLUG = """
import json
import logging
import sys
from pathlib import Path

SECRETS = json.loads((Path(__file__).parent / "secrets.json").read_text())


def report(references, predictions):
    for name, secret in SECRETS.items():
        print("printed", name, secret)
        print(f"{name} to stderr: {secret!r}", file=sys.stderr)
        logging.getLogger("sft.plug").warning("logged %s", secret)
    return {"reported": 1.0}


def fail(references, predictions):
    report(references, predictions)
    try:
        try:
            raise KeyError(SECRETS["environment"])
        except KeyError as error:
            raise ValueError(json.dumps(SECRETS)) from error
    except ValueError as error:
        raise RuntimeError("last words: " + " ".join(map(repr, SECRETS.values())) * 9) from error  # will be truncated
"""


def with_secrets(
    make_config: Callable[..., dict[str, Any]], metric: str = "leaky:report", **changes: Any
) -> dict[str, Any]:
    """Return a config with a secret in every possible key, and another in a text."""
    return make_config(
        dataset__args={"token": SECRETS["config"], "storage_options": {"key": SECRETS["storage"]}},
        model__model_args={"token": SECRETS["config"]},
        prompting__instruction=f"How is it, {SECRETS['environment']}?",
        training__trainer_args={"max_steps": 2, "save_strategy": "steps", "save_steps": 1, "hub_token": SECRETS["hub"]},
        evaluation={"metrics": [metric]},
        description=f"see {URL}",
        **changes,
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command on a config, with a secret in the environment; its files go to `results` and `temporary`."""
    monkeypatch.setenv("SOME_API_KEY", SECRETS["environment"])
    monkeypatch.setenv("HTTPS_PROXY", URL)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "leaky.py").write_text(PLUG, encoding="utf-8")
    (tmp_path / "secrets.json").write_text(json.dumps(SECRETS), encoding="utf-8")

    def command(name: str, config: dict[str, Any], *more: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return subprocess.run(
            [sys.executable, "-m", "sft.cli", name, "config.json", "--results-path", "results", *more],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip

    return command


def leaks(folder: Path) -> list[str]:
    """Return the files under a folder with a secret, or part of one, in their text or name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = [str(path) for path in folder.rglob("*") if MARKER in path.name]
    return names + [str(path) for path in files if MARKER.encode() in path.read_bytes()]


def state_of(results: Path, name: str) -> dict[str, Any]:
    (file,) = results.glob(f"runs/{name}-*/state.json")
    state: dict[str, Any] = json.loads(file.read_text())
    return state


@pytest.mark.slow
def test_a_sweep_leaves_no_secret_behind(
    tmp_path: Path,
    make_config: Callable[..., dict[str, Any]],
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    results = tmp_path / "results"
    configs = {
        "good": with_secrets(make_config, dataset__shots=0, lora=None),
        "bad metric": with_secrets(make_config, dataset__shots=0, lora=None, metric="leaky:fail"),
        "bad url": with_secrets(make_config, dataset__shots=0, lora=None, dataset__path=URL),
    }
    answer = run("run-experiments", {"configs": configs})
    output = answer.stdout + answer.stderr
    assert answer.returncode == 1, output
    assert [state_of(results, name)["state"] for name in ("good", "bad-metric", "bad-url")] == [
        "done", "failed", "failed",
    ], output  # fmt: skip
    assert "last words: '<redacted>'" in state_of(results, "bad-metric")["error"]
    for name in ("good", "bad-metric"):
        (log,) = results.glob(f"runs/{name}-*/log.txt")
        for line in ("printed config <redacted>", "hub to stderr: '<redacted>'", "logged <redacted>"):
            assert line in log.read_text()
    assert 'metric "leaky:fail" raised ' in log.read_text()
    assert (results / "aggregated_results.md").exists(), output
    assert leaks(results) == []
    assert leaks(tmp_path / "temporary") == []
    assert MARKER not in output

    again = run("run-experiments", {"configs": {"good": {**configs["good"], "description": "with other tokens"}}})
    assert "nothing to run" in again.stdout, again.stdout + again.stderr


@pytest.mark.long
def test_an_experiment_leaves_no_secret_behind(
    tmp_path: Path,
    make_config: Callable[..., dict[str, Any]],
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """Train with checkpoints; one run succeeds, one fails."""
    for name, metric, code in (("good", "leaky:report", 0), ("bad", "leaky:fail", 1)):
        config = {**with_secrets(make_config, metric), "name": name}
        answer = run("run-experiment", config)
        output = answer.stdout + answer.stderr
        assert answer.returncode == code, output
        assert ("last words: '<redacted>'" in output) == (code == 1)
        assert "printed config <redacted>" in output
        assert MARKER not in output
    assert len(list((tmp_path / "results").glob("runs/*/result.json"))) == 1
    assert list((tmp_path / "results").glob("runs/bad-*/checkpoints/checkpoint-2/optimizer.pt"))
    assert leaks(tmp_path / "results") == []
    assert leaks(tmp_path / "temporary") == []
