// Command pki writes the certificates of one cluster: a CA, one leaf per request, and the
// service accounts' signing key. It reads a JSON request on standard input, because a list of
// names and addresses does not fit flags well.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

type leaf struct {
	File      string   `json:"file"`
	Name      string   `json:"name"`
	Groups    []string `json:"groups"`
	DNS       []string `json:"dns"`
	Addresses []string `json:"addresses"`
}

type request struct {
	Directory string `json:"directory"`
	Leaves    []leaf `json:"leaves"`
}

const (
	lifetime = 365 * 24 * time.Hour
	skew     = time.Hour // A guest's clock may run behind its host's.
)

func main() {
	var wanted request
	if err := json.NewDecoder(os.Stdin).Decode(&wanted); err != nil {
		fail(err)
	}
	if err := issue(wanted); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pki:", err)
	os.Exit(1)
}

func issue(wanted request) error {
	caKey, err := newKey()
	if err != nil {
		return err
	}
	ca := template("gyre-localcluster", nil)
	ca.IsCA, ca.BasicConstraintsValid = true, true
	ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	// Python 3.13 and later refuse leaves that do not name their issuer's key.
	identifier := sha256.Sum256(elliptic.MarshalCompressed(caKey.Curve, caKey.X, caKey.Y))
	ca.SubjectKeyId = identifier[:20]
	if err := write(wanted.Directory, "ca", ca, ca, caKey, caKey); err != nil {
		return err
	}
	for _, one := range wanted.Leaves {
		key, err := newKey()
		if err != nil {
			return err
		}
		certificate := template(one.Name, one.Groups)
		certificate.KeyUsage = x509.KeyUsageDigitalSignature
		certificate.ExtKeyUsage = []x509.ExtKeyUsage{
			x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth,
		}
		certificate.DNSNames = one.DNS
		for _, address := range one.Addresses {
			certificate.IPAddresses = append(certificate.IPAddresses, net.ParseIP(address))
		}
		if err := write(wanted.Directory, one.File, certificate, ca, key, caKey); err != nil {
			return err
		}
	}
	signing, err := newKey()
	if err != nil {
		return err
	}
	return writeServiceAccountKeys(wanted.Directory, signing)
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func template(name string, groups []string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name, Organization: groups},
		NotBefore:    now.Add(-skew),
		NotAfter:     now.Add(lifetime),
	}
}

func write(directory, name string, certificate, issuer *x509.Certificate, key, issuerKey *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, certificate, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(directory, name+".crt"), "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(filepath.Join(directory, name+".key"), key)
}

func writeServiceAccountKeys(directory string, key *ecdsa.PrivateKey) error {
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(directory, "sa.pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	return writeKey(filepath.Join(directory, "sa.key"), key)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
