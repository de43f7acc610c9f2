package jetstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"strings"

	"github.com/nats-io/nats.go"

	"tandem"
)

// refusedTLS words why there is no encrypted connection, if that is what failed.
func refusedTLS(e *tandem.Error, cfg Config, err error) bool {
	unknown, _ := errors.AsType[x509.UnknownAuthorityError](err)
	host, wrongHost := errors.AsType[x509.HostnameError](err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	missing, isPath := errors.AsType[*fs.PathError](err)
	switch {
	case isPath && (missing.Path == cfg.CA || missing.Path == cfg.Cert || missing.Path == cfg.Key):
		e.Message, e.Hint = "cannot read "+missing.Path+": "+missing.Err.Error(), "name files that are there: --ca, --cert, --key"
	case unknown.Cert != nil || strings.Contains(err.Error(), "unknown authority"):
		e.Message, e.Reason, e.Hint = "the server's certificate is signed by nobody we trust", "tls", "name the file of its authority: --ca FILE"
	case wrongHost:
		e.Message, e.Reason, e.Hint = "the server's certificate is for another name: "+host.Error(), "tls", "use the name in the certificate for --nats"
	case errors.Is(err, nats.ErrSecureConnRequired):
		e.Message, e.Reason, e.Hint = "the server takes only encrypted connections", "tls", "use tls:// in the address, with --ca FILE when its authority is your own"
	case errors.Is(err, nats.ErrSecureConnWanted), plain:
		e.Message, e.Reason, e.Hint = "the server does not speak TLS", "tls", "use nats:// in the address, or give the server a certificate"
	case strings.Contains(err.Error(), "certificate required"), strings.Contains(err.Error(), "bad certificate"),
		cfg.Cert == "" && strings.Contains(err.Error(), "closed by remote after TLS handshake"):
		e.Message, e.Reason, e.Hint = "the server asks for a certificate of ours that it trusts", "tls", "give one with --cert FILE --key FILE"
	default:
		return false
	}
	return true
}
