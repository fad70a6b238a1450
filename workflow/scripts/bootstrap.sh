#!/usr/bin/env bash
# Turns a checkout into a ready environment: .venv holds what requirements.lock pins, and the project itself.
#
#   bootstrap.sh           everything: .venv from requirements.lock
#   bootstrap.sh verify    what recomputes the published verdicts, without torch: .venv-verify from requirements-verify.lock
#
# The Makefile calls it before everything else. Once .venv is ready, a call costs a few hundredths of a second.
#   PYTHON=...   the Python to build .venv with (default: the first of python3.13, .12, .11, .14 and python3)
# Package indexes, proxies and certificates come from the machine's own pip configuration.
#
# Exit codes: 0 ready; 2 this machine lacks something (one sentence on stderr says what); 3 pip failed.
set -euo pipefail

readonly oldest="3.11" newest="3.14" # what requirements.lock is resolved for
case ${1:-} in # measured in MB: the wheels before they are unpacked, and what is installed
"") suffix="" needed_mb=10000 size="some 7 GB, a few minutes" ;;
verify) suffix=-verify needed_mb=1200 size="some 0.7 GB" ;;
*)
    echo "error: bootstrap.sh takes nothing or the word verify, not '$1'" >&2
    exit 2
    ;;
esac
readonly suffix needed_mb size

unset CDPATH # cd would print where it goes
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd -- "$root"
readonly root venv="$root/.venv$suffix" lock="requirements$suffix.lock"
readonly stamp="$venv/.bootstrap-stamp" unfinished="$venv/.bootstrap-unfinished" log="$venv/bootstrap.log"

# An activated .venv must not become the base of its own successor.
PATH=":$PATH:"
PATH=${PATH//":$venv/bin:"/:}
PATH=${PATH#:}
PATH=${PATH%:}
unset PYTHONHOME

fail() { # CODE SENTENCE
    printf 'error: %s\n' "$2" >&2
    exit "$1"
}

version_of() { # PYTHON -> "3.11.7", or nothing if it does not run
    "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || true
}

supported() { # PYTHON
    "$1" -c "import sys; sys.exit(not (${oldest/./, }) <= sys.version_info[:2] <= (${newest/./, }))" 2>/dev/null
}

state() { # VERSION -> all that .venv depends on, as text
    printf '%s\n' "format 1" "python $1" "root $root"
    sha256sum "$lock" pyproject.toml
}

ready() { # is .venv complete, up to date, and of the Python that was asked for?
    local have asked
    [[ -f $stamp && -x $venv/bin/python ]] || return 1
    have=$(version_of "$venv/bin/python")
    if [[ -n ${PYTHON:-} ]]; then
        asked=$(version_of "$PYTHON")
        [[ $asked == "$have" ]] || return 1
    fi
    [[ -n $have && $(<"$stamp") == "$(state "$have")" ]]
}

reusable() { # may the packages be installed into the .venv that is there?
    local have
    [[ ! -e $unfinished ]] || return 1 # an interrupted install may have left half a package
    have=$(version_of "$venv/bin/python")
    [[ -n $have ]] && supported "$venv/bin/python" || return 1
    [[ -z ${PYTHON:-} || $(version_of "$PYTHON") == "$have" ]] || return 1
    [[ ! -f $stamp ]] || grep -qxF "root $root" "$stamp" # its scripts name the folder where it was made
}

find_python() { # sets $python
    local candidate version other="" bare=""
    local -a candidates=(python3.13 python3.12 python3.11 python3.14 python3)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        version=$(version_of "$candidate")
        [[ -n $version ]] || continue
        if ! supported "$candidate"; then
            other="$candidate is Python $version"
        elif ! "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            bare="$candidate (Python $version)"
        else
            python=$candidate
            return
        fi
    done
    if [[ -n $bare ]]; then
        fail 2 "$bare cannot make virtual environments because its modules venv and ensurepip are missing; install them (Debian and Ubuntu: apt-get install python3-venv) or name another Python: make PYTHON=/path/to/python3"
    elif [[ -n $other ]]; then
        fail 2 "Python $oldest to $newest is needed, but $other; install one, or name it: make PYTHON=/path/to/python3"
    elif [[ -n ${PYTHON:-} ]]; then
        fail 2 "PYTHON=$PYTHON does not run; name a Python $oldest to $newest"
    else
        fail 2 "no Python was found; install Python $oldest to $newest, or name it: make PYTHON=/path/to/python3"
    fi
}

require_space() {
    local free used=0 wanted
    free=$(df -Pm . | awk 'NR == 2 {print $4}')
    [[ ! -d $venv ]] || used=$(du -sm "$venv" 2>/dev/null | cut -f1)
    wanted=$((needed_mb - used > 500 ? needed_mb - used : 500))
    if ((free < wanted)); then
        fail 2 "the disk of $root has $free MB free, but installing the packages takes $wanted MB; free some space or move the project to a larger disk"
    fi
}

report_progress() { # until this script ends; its sleep holds no pipe of the caller open
    local started=$SECONDS
    while sleep 20 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        printf '  ... %d s, %s in %s\n' $((SECONDS - started)) "$(du -sh "$venv" 2>/dev/null | cut -f1)" "${venv##*/}"
    done
}

imported() { # imports each package that pyproject.toml asks for, from .venv; prints a sentence if one is not there
    "$venv/bin/python" -I - "$suffix" <<'EOF'
import importlib, importlib.metadata, re, sys, tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
asked = project["dependency-groups"]["verify"] if sys.argv[1] else project["project"].get("dependencies", [])
modules = {}
for module, names in importlib.metadata.packages_distributions().items():
    for name in names:
        modules.setdefault(re.sub(r"[-_.]+", "-", name).lower(), []).append(module)
for name in (re.match(r"[\w.-]+", line)[0].lower() for line in asked):
    named = name.replace("-", "_")
    found = modules.get(name, [named])
    for module in [named] if named in found else [m for m in found if m[0] != "_" and m.isidentifier()]:
        try:
            loaded = importlib.import_module(module)
        except Exception as error:
            sys.exit(f"{module} of package {name} cannot be imported: {type(error).__name__}: {error}".splitlines()[0])
        where = loaded.__file__ or next(iter(loaded.__path__))
        if not where.startswith(sys.prefix):
            sys.exit(f"package {name} is not in {sys.prefix}, but comes from {where}")
EOF
}

pip() { # ARGUMENTS
    if ! "$venv/bin/python" -m pip --no-input "$@" >>"$log" 2>&1; then
        local reason
        reason=$(grep -E '^ *(ERROR|error):' "$log" | tail -n 1 | sed -E 's/^ *(ERROR|error): *//' | cut -c1-300 || true)
        fail 3 "pip could not install the packages (${reason:-it gave no reason}); the whole story is in $log; the next call starts afresh"
    fi
}

! ready || exit 0

if command -v flock >/dev/null; then
    exec 9>"$root/.bootstrap$suffix.lock"
    if ! flock -n 9; then
        echo "Another call is setting up ${venv##*/}; waiting for it."
        flock 9
    fi
    ! ready || exit 0
fi

python=""
if [[ -e $venv ]] && ! reusable; then
    find_python # before anything is removed
    echo "Removing an unfinished or unusable ${venv##*/}."
    rm -rf -- "$venv"
fi
if [[ ! -e $venv ]]; then
    [[ -n $python ]] || find_python
    require_space
    echo "Making ${venv##*/} with $python (Python $(version_of "$python"))."
    mkdir -- "$venv"
    : >"$unfinished"
    "$python" -m venv "$venv" >"$log" 2>&1 ||
        fail 2 "$python could not make a virtual environment; the whole story is in $log"
else
    require_space
    rm -f -- "$stamp"
    : >"$unfinished"
    : >"$log"
fi

echo "Installing the packages of $lock into ${venv##*/}: $size (log: ${venv##*/}/bootstrap.log)."
report_progress 9>&- &
progress=$!
trap 'kill "$progress" 2>/dev/null || true' EXIT
# Where to install, and which versions, is settled here; whence is the user's to say.
unset PYTHONPATH PIP_TARGET PIP_PREFIX PIP_ROOT PIP_CONSTRAINT PIP_REQUIREMENT PIP_NO_DEPS PIP_DRY_RUN PIP_UPGRADE
export PYTHONNOUSERSITE=1 PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1
export TMPDIR="$venv/tmp" # wheels of gigabytes: /tmp may be a small memory disk
mkdir -p -- "$TMPDIR"
pip install -r "$lock"
pip install --no-deps --no-build-isolation -e .
reason=$(imported 2>&1) || fail 3 "the packages were installed but do not work: ${reason:0:300}; look into pip's configuration (python3 -m pip config debug)"
rm -rf -- "$TMPDIR" "$unfinished"
state "$(version_of "$venv/bin/python")" >"$stamp.new"
mv -- "$stamp.new" "$stamp"
echo "The environment is ready."
