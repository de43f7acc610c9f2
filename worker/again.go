package worker

import (
	"errors"
	"time"

	"tandem"
)

// Retry is err with the word that another attempt may help: not before after has passed, or when the step's own policy says so when after is zero.
// It is nil when err is nil. The outermost of several Retry and Permanent counts. A handler in goroutines (engine.Wait) may return it too.
func Retry(err error, after time.Duration) error {
	if err == nil {
		return nil
	}
	return &said{err, tandem.AgainYes, max(after, 0)}
}

// Permanent is err with the word that no other attempt can help. It is nil when err is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &said{err, tandem.AgainNever, 0}
}

// said is an error with a word about another attempt. Seen as a *tandem.Error it is a fresh one each time, for an engine writes into what it is
// given and a handler may return the same error twice.
type said struct {
	err   error
	again tandem.Again
	after time.Duration
}

func (s *said) Error() string { return s.err.Error() }
func (s *said) Unwrap() error { return s.err }

// As is for errors.As and errors.AsType.
func (s *said) As(target any) bool {
	to, ok := target.(**tandem.Error)
	if !ok {
		return false
	}
	e := &tandem.Error{Op: "run", Kind: tandem.KindException, Message: s.err.Error()}
	if inner, ok := errors.AsType[*tandem.Error](s.err); ok {
		copied := *inner
		e = &copied
		if error(inner) != s.err {
			e.Message = s.err.Error() // with what was said around it
		}
	}
	e.Again, e.After, e.Err = s.again, s.after, s.err
	*to = e
	return true
}
