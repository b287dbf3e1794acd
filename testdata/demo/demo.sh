#!/bin/sh
# Plays Kitchen's whole story in a temporary directory, explained for a newcomer, and leaves nothing behind.
#   KITCHEN=bin/kitchen sh testdata/demo/demo.sh          (or: make demo)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bin=${KITCHEN:?set KITCHEN to the kitchen binary}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac

# Nothing of this machine's own configuration plays along.
unset KITCHEN KITCHEN_CONFIG KITCHEN_CATALOG KITCHEN_STATE KITCHEN_OUTPUT
work=$(mktemp -d "${TMPDIR:-/tmp}/kitchen-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work"
mkdir bin && ln -s "$bin" bin/kitchen && PATH=$work/bin:$PATH
export PATH COSIGN_PASSWORD=demo # one password for every key here; people are asked for theirs

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); fi
chapter() { printf '\n%s== %s ==%s\n' "$bold" "$1" "$plain"; }
say() { printf '%s\n' "$@"; }
# run shows a command and runs it. A command that answers "no" or "not yet" is part of the story: run_code says which.
run_code() {
  want=$1; shift
  printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"
  got=0; "$@" || got=$?
  if [ "$got" -ne "$want" ]; then printf 'the demo expected exit code %s and got %s\n' "$want" "$got" >&2; exit 1; fi
  if [ "$want" -ne 0 ]; then printf '(exit code %s: %s)\n' "$want" "$(words "$want")"; fi
}
run() { run_code 0 "$@"; }
words() { case $1 in 3) echo 'the answer is no' ;; 8) echo 'accepted, not in effect yet' ;; *) echo 'refused' ;; esac; }
# show prints a file that is made here.
show() { printf '\n%s$ cat %s%s\n' "$bold" "$1" "$plain"; cat "$1"; }

chapter 'A vendor, a customer, and one bucket between them'
say 'A vendor ships a product to customers. Between them lies a bucket with signed files' \
    '(here: a directory). Nobody trusts the bucket; everybody checks the signatures.'

chapter 'Keys'
say 'Everybody who takes a decision has a key pair of their own, in the format of cosign.' \
    'In real life each is made on its holder'"'"'s machine, and only the .pub travels.'
for who in root-a root-b online admin engineer validator sysadmin-a sysadmin-b vendor-ci acme-ci acme-prod; do
  kitchen key generate "keys/$who" >/dev/null
  printf '  keys/%s.key  keys/%s.pub\n' "$who" "$who"
done

chapter 'The vendor makes the catalog'
say 'Two root holders sign its root, which every host pins. The online key belongs to the' \
    'committer, who puts what others have signed into effect.'
run kitchen init --catalog bucket --vendor enovance --root-key keys/root-a.key --root-key keys/root-b.key \
  --online-key keys/online.key --registry-key keys/admin.key --write-config vendor.toml --write-root root.json
say '' 'A product: who may publish it, who validates it, and which two of the sysadmins certify it.'
run kitchen --config vendor.toml product add hello-cloud --engineer keys/engineer.pub --validator keys/validator.pub \
  --certifier keys/sysadmin-a.pub --certifier keys/sysadmin-b.pub --key keys/root-a.key --key keys/root-b.key
say '' 'The vendor'"'"'s own CI, and a customer with a CI and a production platform.'
run kitchen --config vendor.toml site add enovance/ci --kind ci --pub keys/vendor-ci.pub --key keys/admin.key
run kitchen --config vendor.toml customer add acme --name ACME --subscribe hello-cloud --key keys/admin.key
run kitchen --config vendor.toml site add acme/ci --kind ci --pub keys/acme-ci.pub --key keys/admin.key
run kitchen --config vendor.toml site add acme/prod --kind production --pub keys/acme-prod.pub --key keys/admin.key

chapter 'A release engineer publishes a release'
say 'A release is a directory: a product.toml that names its files, and the files.'
cp -R "$here/product" hello-cloud && chmod 755 hello-cloud/provision/apply.sh
mkdir hello-cloud/images
dd if=/dev/urandom of=hello-cloud/images/node.img bs=65536 count=48 2>/dev/null
show hello-cloud/product.toml
run kitchen --config vendor.toml publish hello-cloud --key keys/engineer.key
run kitchen --config vendor.toml list

chapter 'The vendor'"'"'s CI tests it'
say 'Each site has a kitchen.toml: the catalog, the pinned root, its key, and what it runs.'
site() {
  cat > "$1.toml" <<T
catalog = "bucket"
root    = "root.json"
state   = "state-$1"

[site]
id  = "$2"
key = "keys/$1.key"
$3
T
}
site vendor-ci enovance/ci 'follow = "published"

[hooks]
test = ["sh", "-c", "test -s $KITCHEN_DIR/images/node.img && echo the image is there"]

[keys]
online = ["keys/online.key"]
"validated.hello-cloud" = ["keys/validator.key"]'
show vendor-ci.toml
say '' 'It fetches what is new, checks every byte, runs the hook, signs a report, and signs the' \
    'release into "validated". Only now do customers see it.'
run kitchen --config vendor-ci.toml run

chapter 'The customer'"'"'s CI tests it on its own terms'
site acme-ci acme/ci '
[hooks]
test = ["sh", "./acme-tests.sh"]'
cat > acme-tests.sh <<'T'
echo "ACME boots $KITCHEN_PRODUCT $KITCHEN_VERSION"
"$KITCHEN_DIR/provision/apply.sh"
cat > "$KITCHEN_RESULTS/acme.xml" <<X
<testsuite name="acme" tests="2" failures="0"><testcase name="boots"/><testcase name="answers"/></testsuite>
X
T
show acme-tests.sh
run kitchen --config acme-ci.toml run

chapter 'Production asks, and is told no'
site acme-prod acme/prod 'auto = true

[hooks]
deploy = ["sh", "-c", "echo deployed $KITCHEN_PRODUCT $KITCHEN_VERSION >> deployed.txt"]'
run_code 3 kitchen --config acme-prod.toml ready hello-cloud@1.0.0

chapter 'Two sysadmins certify it, from their own laptops'
cat > laptop.toml <<'T'
catalog = "bucket"
root    = "root.json"
state   = "state-laptop"
T
say 'The first one reads the evidence and signs. One of two is not enough yet.'
run_code 8 kitchen --config laptop.toml certify hello-cloud@1.0.0 --key keys/sysadmin-a.key
say '' 'The second one sees what waits, and signs it too.'
run kitchen --config laptop.toml pending
run_code 8 kitchen --config laptop.toml sign ready-to-deploy.hello-cloud --yes --key keys/sysadmin-b.key
say '' 'The committer puts it into effect: one atomic change of the bucket.'
run kitchen --config vendor.toml commit

chapter 'Production deploys it, once'
run kitchen --config acme-prod.toml run
run kitchen --config acme-prod.toml run
show deployed.txt

chapter 'Anybody tampers with the bucket, and everybody notices'
say 'We overwrite the image in the bucket with other bytes and fetch it.'
cp -R bucket tampered
biggest=$(find tampered/blobs -type f -size +1000k | head -n 1)
chmod u+w "$biggest" && dd if=/dev/zero of="$biggest" bs=65536 count=1 conv=notrunc 2>/dev/null
run_code 4 kitchen --config laptop.toml --catalog tampered fetch hello-cloud@1.0.0 --into got

chapter 'The vendor sees where everything stands'
run kitchen --config vendor.toml status
say '' 'And production can check it again at any time, without network:'
run kitchen --config acme-prod.toml ready hello-cloud@1.0.0 --offline
