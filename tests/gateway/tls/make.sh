#!/bin/sh
# How these files were made, once, with OpenSSL 3:
# - ca.pem: a certification authority of the tests' own. Its key was thrown away.
# - upstream.pem, upstream.key: for the name localhost only, signed by it, valid for a hundred
#   years from 2020 on, whatever the clock of the machine.
# All the world knows the key: nothing but these tests may trust ca.pem.
set -e
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
cd "$work"
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
openssl req -x509 $new -days 36500 -subj "/CN=the gateway's tests" -keyout ca.key -out ca.pem \
    -addext keyUsage=critical,keyCertSign
openssl req $new -subj /CN=localhost -keyout upstream.key -out upstream.csr
cat >ca.conf <<'CONF'
[ca]
default_ca = tests
[tests]
database = index
serial = serial
new_certs_dir = .
policy = names
x509_extensions = upstream
[names]
commonName = supplied
[upstream]
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost
CONF
: >index
openssl ca -config ca.conf -batch -rand_serial -notext -md sha256 \
    -startdate 20200101000000Z -enddate 21200101000000Z \
    -keyfile ca.key -cert ca.pem -in upstream.csr -out upstream.pem
cp ca.pem upstream.pem upstream.key "$here"
rm -r "$work"
