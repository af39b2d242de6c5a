"""docs/configuration.md has the settings that there are."""

from docs.make_configuration import PAGE, PROGRAMS, written


def test_tables_are_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == written(text), "run python docs/make_configuration.py"


def test_every_setting_is_in_the_tables() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for settings in PROGRAMS:
        prefix = settings.model_config.get("env_prefix")
        for name in settings.model_fields:
            assert f"`{prefix}{name.upper()}`" in text
