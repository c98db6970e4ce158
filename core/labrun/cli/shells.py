"""`lab --install-completion`: the scripts by which bash and zsh ask `lab` what to offer at TAB."""

import os
import shlex
from pathlib import Path

from labrun.errors import LabError, unknown

BASH = r"""_lab_complete() {
    local line=${COMP_LINE:0:COMP_POINT} IFS=$'\n'
    local word=${line##*[[:space:]]}
    COMPREPLY=($(LAB_COMPLETE="$line" "$1" 2>/dev/null))
    # bash parts words at = and :, and takes offers from there on
    local known=${word%"${word##*[=:]}"}
    COMPREPLY=("${COMPREPLY[@]#"$known"}")
    [[ ${COMPREPLY[0]} == *[=.,/] ]] && compopt -o nospace 2>/dev/null
    return 0
}
# where lab offers nothing, bash offers files
complete -o bashdefault -o default -F _lab_complete lab
"""
ZSH = r"""_lab_complete() {
    local -a offers open
    offers=("${(@f)$(LAB_COMPLETE="${(j: :)words[1,CURRENT]}" "${words[1]}" 2>/dev/null)}")
    offers=("${(@)offers:#}")
    open=("${(@M)offers:#*[=./]}")
    offers=("${(@)offers:#*[=./]}")
    (( ${#open} )) && compadd -Q -S '' -a open
    (( ${#offers} )) && compadd -Q -a offers
    (( ${#open} + ${#offers} )) && return
    # files, also behind key= and @
    [[ $PREFIX == (@*|[a-z]*=*) ]] && compset -P '*[@=]'
    _files
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _lab_complete lab
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH}


def install(shell: str, *, user: Path) -> tuple[Path, Path]:
    """Write the shell's script and have its start file read it; both paths.

    `user` is the user's home folder. Raises LabError for another shell, or where a file cannot be
    written.
    """
    if not shell:
        raise LabError("SHELL is not set; say which it is: SHELL=bash lab --install-completion")
    if shell not in SCRIPTS:
        raise unknown("shell", shell, SCRIPTS)
    script, start = user / f".local/share/labrun/lab.{shell}", user / f".{shell}rc"
    line = f"source {shlex.quote(str(script))}\n"
    try:
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(SCRIPTS[shell])
        said = start.read_text() if start.exists() else ""
        if line not in said:
            with open(start, "a") as file:
                file.write(("" if said.endswith("\n") or not said else "\n") + line)
    except OSError as error:
        raise LabError(f"cannot write {error.filename}: {error.strerror}") from error
    return script, start


def shell_of_user() -> str:
    """The name of the user's shell, from SHELL."""
    return Path(os.environ.get("SHELL", "")).name
