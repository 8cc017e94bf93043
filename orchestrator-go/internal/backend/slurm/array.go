package slurm

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxElements bounds an array, well above Slurm's default MaxArraySize of 1001.
const maxElements = 100_000

var arrayForm = regexp.MustCompile(`^[0-9]{1,9}(-[0-9]{1,9}(:[0-9]{1,9})?)?(,[0-9]{1,9}(-[0-9]{1,9}(:[0-9]{1,9})?)?)*(%[1-9][0-9]{0,8})?$`)

// expandArray lists the indices that --array=text stands for, ascending, each once.
func expandArray(text string) ([]int, error) {
	if len(text) > 4096 || !arrayForm.MatchString(text) {
		return nil, fmt.Errorf("%.128q is not of the form 0-9, 1,3,5-7 or 0-15:4, with %%2 behind for at most two at once", text)
	}
	text, _, _ = strings.Cut(text, "%")
	set := map[int]bool{}
	for part := range strings.SplitSeq(text, ",") {
		from, to, step := span(part)
		if to < from || step < 1 {
			return nil, fmt.Errorf("%q names no elements", part)
		}
		if (to-from)/step >= maxElements {
			return nil, errTooMany
		}
		for i := from; i <= to; i += step {
			set[i] = true
		}
		if len(set) > maxElements {
			return nil, errTooMany
		}
	}
	return slices.Sorted(maps.Keys(set)), nil
}

var errTooMany = errors.New("an array has at most " + strconv.Itoa(maxElements) + " elements")

// span reads 3, 3-7 or 3-7:2; the pattern has made sure of digits.
func span(part string) (from, to, step int) {
	part, stride, strided := strings.Cut(part, ":")
	first, last, ranged := strings.Cut(part, "-")
	from, _ = strconv.Atoi(first)
	to, step = from, 1
	if ranged {
		to, _ = strconv.Atoi(last)
	}
	if strided {
		step, _ = strconv.Atoi(stride)
	}
	return from, to, step
}
