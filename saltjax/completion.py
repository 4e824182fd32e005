"""Completion of command lines by the shell: what --completion prints."""

from saltjax import options
from saltjax.runs import settings

# bash takes "=" as the end of a word, and replaces only what follows it: `typed` is what it keeps.
# "--config." and what ends with "=" is not yet complete, so that no space follows it.
BASH = r"""# Completion of saltjax in bash, written by saltjax --completion=bash
_saltjax() {
  local line="${COMP_LINE:0:COMP_POINT}" word="${COMP_WORDS[COMP_CWORD]}" mode=train
  local current="${line##* }" found
  [[ $word == = ]] && word=
  local typed="${current%"$word"}"
  [[ $line =~ --mode[=\ ]([a-z]+) ]] && mode="${BASH_REMATCH[1]}"
  compopt -o nospace
  case "$current" in
@VALUES@
    --config.*) found="@SETTINGS@" ;;
    --config=*) found="@CONFIGS@"; word="${current#*=}" ;;
    --workdir=*|--input=*|--output=*|--flagfile=*) word="${current#*=}" ;;
    -*|"")
      case "$mode" in
@FLAGS@
      esac ;;
  esac
  local IFS=$'\n'
  case "$current" in
    --config=*|--workdir=*|--input=*|--output=*|--flagfile=*)
      compopt -o filenames
      COMPREPLY=($(compgen -W "${found// /$IFS}" -- "$word"; compgen -f -- "$word")) ;;
    *)
      COMPREPLY=($(compgen -W "${found// /$IFS}" -- "$current"))
      [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} != *[=.] ]] && compopt +o nospace
      COMPREPLY=("${COMPREPLY[@]#"$typed"}") ;;
  esac
}
complete -F _saltjax saltjax
"""


def bash() -> str:
    """Returns a script that completes flags by mode, modes, settings with their choices, and paths."""
    values = {"--mode": list(options.MODES)}
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
    names = [p.stem for p in settings.configs_folder().glob("*.py")]
    parts = {
        "@VALUES@": "\n".join(cases),
        "@SETTINGS@": " ".join(f"--config.{key}=" for key in settings.defaults()),
        "@CONFIGS@": " ".join(sorted(name for name in names if name != "__init__")),
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
