"""Completion of command lines by the shell: what --completion prints."""

from saltjax import options
from saltjax.runs import settings

# bash takes "=" as the end of a word, and replaces only what follows it: `typed` is what it keeps.
# "--config." and what ends with "=" is not yet complete, so that no space follows it. Where nothing
# of that is found, bash completes the path of a file itself, whatever characters it holds.
BASH = r"""# Completion of saltjax in bash, written by saltjax --completion=bash
_saltjax() {
  local word="${COMP_WORDS[COMP_CWORD]}" typed= mode=train found=
  local before="${COMP_WORDS[COMP_CWORD-1]}"
  if [[ $word == = ]]; then
    typed="$before=" word=
  elif [[ $before == = ]]; then
    typed="${COMP_WORDS[COMP_CWORD-2]}="
  fi
  [[ ${COMP_LINE:0:COMP_POINT} =~ --mode[=\ ]([a-z]+) ]] && mode="${BASH_REMATCH[1]}"
  case "$typed$word" in
@VALUES@
    --config.*) found="@SETTINGS@" ;;
    --config=*) found="@CONFIGS@" ;;
    -*|"")
      case "$mode" in
@FLAGS@
      esac ;;
  esac
  COMPREPLY=($(compgen -W "$found" -- "$typed$word"))
  [[ ${#COMPREPLY[@]} -gt 1 || ${COMPREPLY[0]} == *[=.] ]] && compopt -o nospace
  COMPREPLY=("${COMPREPLY[@]#"$typed"}")
}
complete -o default -F _saltjax saltjax
"""


def bash() -> str:
    """Returns a script that completes flags by mode, modes, settings with their choices, and paths."""
    values = {"--mode": list(options.MODES)}
    for name, flag in options.TABLE.items():
        if flag.choices:
            values[f"--{name}"] = list(flag.choices)
    for key, default in settings.defaults().items():
        choices = settings.CHOICES.get(key, ())
        if isinstance(default, bool):
            choices = ("True", "False")
        values[f"--config.{key}"] = list(choices)
    cases = [
        f'    {flag}=*) found="{" ".join(f"{flag}={choice}" for choice in choices)}" ;;'
        for flag, choices in values.items()
    ]
    modes = [
        f'        {mode}) found="{" ".join(["--mode=", *_forms(mode), "--help"])}" ;;'
        for mode in options.MODES
    ]
    paths = settings.configs_folder().glob("*.py")
    names = [path.stem for path in paths if path.stem != "__init__"]
    parts = {
        "@VALUES@": "\n".join(cases),
        "@SETTINGS@": " ".join(f"--config.{key}=" for key in settings.defaults()),
        "@CONFIGS@": " ".join(f"--config={name}" for name in sorted(names)),
        "@FLAGS@": "\n".join(modes),
    }
    script = BASH
    for mark, text in parts.items():
        script = script.replace(mark, text)
    return script


def _forms(mode: str) -> list[str]:
    """Returns the flags of a mode as they are typed, up to their values."""
    forms = []
    for name, flag in options.TABLE.items():
        if name == "config.KEY" and options.takes(mode, name):
            forms.append("--config.")
        elif options.takes(mode, name):
            forms.append(f"--{name}=" if flag.value else f"--{name}")
            forms += [f"--no{name}"] if options.can_be_denied(flag) else []
    return forms
