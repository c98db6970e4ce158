#!/usr/bin/env bash
# StarCraft II 4.10 for Linux, the maps of SMAC, SMACv2 and the multi-task benchmark, and both
# Python packages at fixed versions. Repeats nothing that is there already.
#
#   infra/install_sc2.sh --accept-licence
#
# Variables: SC2PATH  where the game goes (default ~/StarCraftII)
#            PYTHON   interpreter that gets the packages (default .venv/bin/python, else python3)
set -euo pipefail

LICENCE=https://blzdistsc2-a.akamaihd.net/AI_AND_MACHINE_LEARNING_LICENSE.html
GAME=https://blzdistsc2-a.akamaihd.net/Linux/SC2.4.10.zip
MAPS=https://github.com/oxwhirl/smac/releases/download/v0.1-beta1/SMAC_Maps.zip
MAPS_V2=https://github.com/oxwhirl/smacv2/releases/download/maps/SMAC_Maps.zip
MULTI_TASK=https://github.com/LAMDA-RL/ODIS.git
MULTI_TASK_COMMIT=db3017f7bccba10f95c4159cca76c582160eec40
SMAC=git+https://github.com/oxwhirl/smac.git@8c4fff48ace10e0f73753b6b90a0b97fd97818cb
SMACV2=git+https://github.com/oxwhirl/smacv2.git@9dabb9805a8e322e479d1876b59b5cbf528a87c5

# What the packages import, named one by one: PySC2 itself asks for enum34, which can break Python's
# own enum, and SMACv2 for a protobuf that MLflow cannot use.
DEPENDENCIES=(absl-py portpicker websocket-client s2clientprotocol==5.0.14.93333.0)
PACKAGES=(pysc2==4.0.0 "$SMAC" "$SMACV2")

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
SC2PATH="${SC2PATH:-$HOME/StarCraftII}"
SCRATCH=""

fail() {
    echo "install_sc2.sh: $*" >&2
    exit 2
}

find_python() {
    if [ -z "${PYTHON:-}" ]; then
        PYTHON=python3
        [ ! -x "$ROOT/.venv/bin/python" ] || PYTHON="$ROOT/.venv/bin/python"
    fi
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$PYTHON is no Python 3.11 or newer; name one with PYTHON=..."
    "$PYTHON" -m pip --version >/dev/null || fail "$PYTHON has no pip"
}

check_needs() {
    [ "${1:-}" = --accept-licence ] ||
        fail "read $LICENCE, then run this again with --accept-licence"
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
        fail "StarCraft II 4.10 without a display exists for Linux on x86_64 only"
    local tool
    for tool in curl unzip git; do
        command -v "$tool" >/dev/null || fail "$tool is missing"
    done
    [ "$(basename "$SC2PATH")" = StarCraftII ] ||
        fail "SC2PATH is $SC2PATH; the archive unpacks to a folder named StarCraftII"
    find_python
    mkdir -p "$(dirname "$SC2PATH")"
    # 4 GiB as an archive and as much again unpacked.
    local free
    free="$(df -Pk "$(dirname "$SC2PATH")" | awk 'NR == 2 { print int($4 / 1048576) }')"
    [ -d "$SC2PATH/Versions" ] || [ "$free" -ge 10 ] ||
        fail "$(dirname "$SC2PATH") has $free GiB free; 10 are needed"
}

install_game() {
    [ ! -d "$SC2PATH/Versions" ] || return 0
    # Unpacked beside its place and then moved, so that an interrupted run leaves nothing half there.
    curl -fL --retry 3 -o "$SCRATCH/game.zip" "$GAME"
    unzip -qo -P iagreetotheeula "$SCRATCH/game.zip" -d "$SCRATCH/game"
    rm "$SCRATCH/game.zip"
    mkdir -p "$SC2PATH"
    # Versions comes last: it says that the rest is there.
    find "$SCRATCH/game/StarCraftII" -mindepth 1 -maxdepth 1 ! -name Versions \
        -exec mv -n -t "$SC2PATH" {} +
    mv "$SCRATCH/game/StarCraftII/Versions" "$SC2PATH"
}

# Copies every map below a folder; one that is there already stays as it is.
copy_maps() {
    mkdir -p "$SC2PATH/Maps/SMAC_Maps"
    find "$1" -name '*.SC2Map' -exec cp -n {} "$SC2PATH/Maps/SMAC_Maps/" \;
}

install_maps() {
    local maps="$SC2PATH/Maps/SMAC_Maps" source
    [ ! -f "$maps/3m.SC2Map" ] || [ ! -f "$maps/32x32_flat.SC2Map" ] ||
        [ ! -f "$maps/7m_vs_8m.SC2Map" ] || return 0
    for source in "$MAPS" "$MAPS_V2"; do
        curl -fL --retry 3 -o "$SCRATCH/maps.zip" "$source"
        unzip -qo "$SCRATCH/maps.zip" -d "$SCRATCH/maps"
    done
    git clone --quiet --filter=blob:none --no-checkout "$MULTI_TASK" "$SCRATCH/multi_task"
    git -C "$SCRATCH/multi_task" checkout --quiet "$MULTI_TASK_COMMIT" -- smac_patch/SMAC_Maps
    copy_maps "$SCRATCH/maps"
    copy_maps "$SCRATCH/multi_task"
    local name
    for name in 3m 2s3z 32x32_flat 7m_vs_8m; do
        [ -f "$maps/$name.SC2Map" ] || fail "no $name.SC2Map among the downloaded maps"
    done
}

install_packages() {
    "$PYTHON" -m pip install --disable-pip-version-check "${DEPENDENCIES[@]}"
    "$PYTHON" -m pip install --disable-pip-version-check --no-deps "${PACKAGES[@]}"
    PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python "$PYTHON" -c \
        'import smac.env, smacv2.env.starcraft2.wrapper' || fail "the packages cannot be imported"
}

check_needs "$@"
SCRATCH="$(mktemp -d "$(dirname "$SC2PATH")/install_sc2.XXXXXX")"
trap 'rm -rf "$SCRATCH"' EXIT
install_game
install_maps
install_packages
cat <<END
Ready. Set for every run (the game's messages are older than the installed protobuf):
  export SC2PATH=$SC2PATH
  export PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python
END
