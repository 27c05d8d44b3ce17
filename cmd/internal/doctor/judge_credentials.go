package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// When an end that is foreseen counts.
const (
	endsSoon = 30 * 24 * time.Hour
	endsNow  = 7 * 24 * time.Hour
)

// judgeEnd judges what ends at a time; the zero time is never.
func judgeEnd(what string, until, now time.Time, fix string) Finding {
	left := until.Sub(now)
	at := until.UTC().Format("2006-01-02 15:04")
	switch {
	case until.IsZero():
		return healthy("%s does not expire", what)
	case left <= 0:
		return critical(fix, "%s has expired, on %s", what, at)
	case left <= endsNow:
		return critical(fix, "%s expires in %s, on %s", what, days(left), at)
	case left <= endsSoon:
		return warning(fix, "%s expires in %s, on %s", what, days(left), at)
	}
	return healthy("%s is good for %s, until %s", what, days(left), at)
}

func judgeCredentials(f *Facts) []Finding {
	const fix = "Make a new one (nsc generate creds), and put it in its place: it is read again at every reconnect."
	found := judgeOwn(f, fix)
	switch c := f.Credentials; {
	case c.Path == "":
		if f.Rights.Err == nil && f.Rights.Expires > 0 {
			found = append(found, judgeEnd("what NATS was told", f.Local.Add(f.Rights.Expires), f.Local, fix))
		} else {
			found = append(found, healthy("no credentials file is used"))
		}
	case c.Err != nil:
		found = append(found, critical("Is --credentials (SEAMARK_NATS_CREDENTIALS) the file with the operator's JWT and seed?", "%s: %v", c.Path, c.Err))
	default:
		found = append(found, judgeEnd(fmt.Sprintf("%s (user %s)", c.Path, c.User), c.Expires, f.Local, fix))
	}
	return found
}

// judgeOwn judges the credentials of the daemons whose configurations are named.
func judgeOwn(f *Facts, fix string) []Finding {
	var found []Finding
	for _, c := range f.Configs {
		switch own := c.Credentials; {
		case own.Path == "":
		case own.Err != nil:
			found = append(found, notRead(own.Path, c, own.Err))
		default:
			found = append(found, judgeEnd(fmt.Sprintf("%s (user %s), of %s", own.Path, own.User, c.Path), own.Expires, f.Local, fix))
		}
	}
	return found
}

// notRead judges a file that a configuration names. It may be on the daemon's machine only.
func notRead(path string, c Config, err error) Finding {
	if _, missing := errors.AsType[*fs.PathError](err); missing {
		return unknown("Run seamark doctor where the daemon runs, as somebody who may read it.", "%s, of %s: %v", path, c.Path, err)
	}
	return critical("Put the right file in its place: NATS would refuse the daemon.", "%s, of %s: %v", path, c.Path, err)
}

func judgeCertificates(f *Facts) []Finding {
	var found []Finding
	for _, c := range f.Configs {
		switch own := c.Certificate; {
		case own.Where == "":
		case own.Err != nil:
			found = append(found, notRead(own.Where, c, own.Err))
		default:
			found = append(found, judgeEnd(fmt.Sprintf("the certificate %s (%s), of %s", own.Where, own.Subject, c.Path), own.Until, f.Local, "Renew it, in its place: it is read again at every reconnect."))
		}
	}
	for _, c := range f.Certs {
		switch {
		case c.Err != nil:
			found = append(found, unknown("Is it reached at all?", "the certificate of %s can't be seen: %v", c.Where, c.Err))
		case c.NoTLS:
			found = append(found, healthy("%s speaks no TLS: it has no certificate", c.Where))
		default:
			found = append(found, judgeEnd(fmt.Sprintf("the certificate of %s (%s)", c.Where, c.Subject), c.Until, f.Local, "Renew it, and let the server read it again."))
		}
	}
	return found
}
