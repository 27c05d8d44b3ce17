package config

import "reflect"

// field is a field of a section that a key names. Its Index begins at the section.
type field struct {
	reflect.StructField
	key     string
	private bool // its tag says so, or that of a struct whose fields are the section's own
}

// fieldsOf returns the fields of a section, in the order in which its struct has them.
// Those of a struct within it whose tag is yaml:",inline" are the section's own.
func fieldsOf(section reflect.Type) []field {
	all := make([]field, 0, section.NumField())
	for i := range section.NumField() {
		f := section.Field(i)
		private := f.Tag.Get("private") == "true"
		switch key := f.Tag.Get("yaml"); key {
		case "":
		case ",inline":
			for _, inner := range fieldsOf(f.Type) {
				inner.Index, inner.private = append([]int{i}, inner.Index...), inner.private || private
				all = append(all, inner)
			}
		default:
			all = append(all, field{f, key, private})
		}
	}
	return all
}
