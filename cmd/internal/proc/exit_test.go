package proc

import (
	"errors"
	"fmt"
	"testing"
)

func TestAnErrorMayHaveAnExitCodeOfItsOwn(t *testing.T) {
	cause := errors.New("not healthy")
	err := fmt.Errorf("doctor: %w", Exit(cause, 2))
	if ExitCode(err) != 2 || !errors.Is(err, cause) || err.Error() != "doctor: not healthy" {
		t.Errorf("%v exits with %d", err, ExitCode(err))
	}
	if Exit(nil, 2) != nil {
		t.Error("nothing went wrong, and it is an error")
	}
}
