package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
)

// Patch is the JSON patch (RFC 6902) that makes before into after; nil when nothing differs. Both are compared as
// their types write them and never with the text of a request, so that a field which the types do not know survives
// in the object that the patch is applied to. The operations are "add" and "replace", sorted by path; a difference
// that takes something away is an error, because no fix does.
func Patch(before, after Object) ([]jsonpatch.Operation, error) {
	// Most objects are not mended, and come back as they went in.
	if reflect.DeepEqual(before, after) {
		return nil, nil
	}
	b, err := json.Marshal(before)
	if err != nil {
		return nil, fmt.Errorf("write the object before: %w", err)
	}
	a, err := json.Marshal(after)
	if err != nil {
		return nil, fmt.Errorf("write the object after: %w", err)
	}
	ops, err := jsonpatch.CreatePatch(b, a)
	if err != nil {
		return nil, fmt.Errorf("compare the objects: %w", err)
	}
	if len(ops) == 0 {
		return nil, nil
	}
	for _, op := range ops {
		if op.Operation != "add" && op.Operation != "replace" {
			return nil, fmt.Errorf("the mended object lacks '%s' of the one before: a fix must not remove", op.Path)
		}
	}
	slices.SortFunc(ops, func(x, y jsonpatch.Operation) int { return comparePaths(x.Path, y.Path) })
	return ops, nil
}

// comparePaths sorts JSON pointers part by part, numbers as numbers: what is appended to a list comes in its order.
func comparePaths(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "/"), strings.Split(b, "/"), func(x, y string) int {
		m, errX := strconv.ParseUint(x, 10, 63)
		n, errY := strconv.ParseUint(y, 10, 63)
		switch {
		case errX == nil && errY == nil && m != n:
			return cmp.Compare(m, n)
		case errX == nil && errY != nil:
			return -1
		case errX != nil && errY == nil:
			return 1
		}
		return cmp.Compare(x, y)
	})
}
