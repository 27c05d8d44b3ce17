package registry_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

// decodeBoth decodes a body as package registry does and as encoding/json does, and
// fails when the two do not agree: the same value or the same refusal.
func decodeBoth(t rapid.TB, d *registry.Decoder, body []byte) (*registry.Event, error) {
	t.Helper()
	before := string(body)
	got, err := d.Decode(body)
	want, wantErr := registry.DecodeWithJSON(body)
	if string(body) != before {
		t.Fatal("Decode has written into the body")
	}
	var refused, wantRefused *registry.Refusal
	errors.As(err, &refused)
	errors.As(wantErr, &wantRefused)
	if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(refused, wantRefused) {
		t.Fatalf("Decode: %v\nencoding/json: %v\n%s", err, wantErr, body)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("Decode differs from encoding/json (-want +got)\n%s\n%s", cmp.Diff(want, got, cmpopts.EquateComparable()), body)
	}
	return got, err
}

func TestDecodersAgreeOnGeneratedEvents(t *testing.T) {
	t.Parallel()
	d := registry.NewDecoder()
	rapid.Check(t, func(t *rapid.T) {
		for _, m := range drawStream(t).messages {
			decodeBoth(t, d, m.body)
			decodeBoth(t, d, rapid.Custom(func(t *rapid.T) []byte { return damage(t, m.body) }).Draw(t, "damaged"))
		}
	})
}

// damage makes another body of a sound one: fields given twice, in capitals, null,
// left out or of another type; bytes changed, cut off, or something behind them.
func damage(t *rapid.T, body []byte) []byte {
	text := string(body)
	for range rapid.IntRange(1, 3).Draw(t, "damages") {
		at := rapid.IntRange(0, len(text)).Draw(t, "at")
		switch rapid.IntRange(0, 7).Draw(t, "how") {
		case 0:
			text = text[:at]
		case 1:
			text = text[:at] + rapid.SampledFrom(morsels).Draw(t, "morsel") + text[at:]
		case 2: // one value becomes another
			colon := strings.IndexByte(text[at:], ':')
			if colon < 0 {
				continue
			}
			from := at + colon + 1
			end := from + strings.IndexAny(text[from:]+",", ",}]")
			text = text[:from] + rapid.SampledFrom(morsels).Draw(t, "value") + text[min(end, len(text)):]
		case 3: // a name in other letters
			text = text[:at] + strings.Replace(text[at:], `e"`, rapid.SampledFrom([]string{`E"`, `\u0065"`, `\u0045"`, `ſ"`}).Draw(t, "letters"), 1)
		case 4: // another member, perhaps one that is there already
			name := rapid.SampledFrom(names).Draw(t, "name")
			text = strings.Replace(text, "{", `{"`+name+`":`+rapid.SampledFrom(morsels).Draw(t, "value")+",", 1+at%3)
		case 5:
			text = strings.Replace(text, ",", rapid.SampledFrom([]string{" , ", ",\n\t", ",,", ";"}).Draw(t, "comma"), 1)
		case 6:
			text += rapid.SampledFrom([]string{" ", "{}", "\x00", "x", "\n"}).Draw(t, "behind")
		default:
			text = text[:at] + strings.Replace(text[at:], `"`, rapid.SampledFrom([]string{`"\n`, `"\"`, "\"\xff", `"\ud83d\ude00`, `"\u2028`, `"<`, "\"ü", "\"\x1f", `"\x`}).Draw(t, "escape"), 1)
		}
	}
	return []byte(text)
}

var names = strings.Fields(`schema id kind writer epoch revision time agent cause service cluster takeover snapshot note zone order
	namespace name instances total serving truncated forgotten changes changed index seen address port weight health version meta later
	ID Kind serVice added removed fields`)

var morsels = []string{
	"null", "true", "false", "0", "-0", "1", "-1", "01", "1.0", "1e3", "- 1", "9223372036854775807", "18446744073709551615", "18446744073709551616",
	"999999999999999999", "1000000000000000000", `""`, `"x"`, `"\u00e9"`, `"passing"`, `"2027-01-15T08:00:00Z"`, `"2027-01-15T08:00:00.5+01:00"`,
	`"2027-01-15"`, "[]", "{}", `[{}]`, `{"a":[1,{"b":null}],"c":"d"}`, `{"k":"v"}`, `{"k":"v","k":"w"}`, `["a",null]`, `{"":""}`,
	strings.Repeat("[", 31) + strings.Repeat("]", 31), strings.Repeat("[", 33) + strings.Repeat("]", 33), `[1,]`, `{"a":1,}`, `"` + strings.Repeat("long", 100) + `"`,
}

func TestDecodersAgreeOnOddBodies(t *testing.T) {
	t.Parallel()
	d := registry.NewDecoder()
	two := instanceBody("a", `,"meta":{"k":"v"}`) + "," + instanceBody("b", `,"meta":{"k":"v"}`)
	for _, text := range []string{
		serviceBody(two), serviceBody(two) + "\n\t ", " " + serviceBody(two), serviceBody(two) + "\x00",
		strings.Replace(serviceBody(two), `"service":`, `"service":{"namespace":"x","index":"old","instances":[{"id":"old","version":"9"}]},"service":`, 1),
		strings.Replace(serviceBody(two), `"instances"`, `"instances":[{"meta":{"old":"1"}}],"instances"`, 1),
		strings.Replace(serviceBody(two), `"instances"`, `"Instances":[],"INSTANCES"`, 1),
		strings.Replace(serviceBody(two), `"kind"`, "\"\u212aind\"", 1), // the Kelvin sign folds to k
		strings.Replace(serviceBody(two), `"service"`, "\"\u017fervice\"", 1),
		serviceBody(instanceBody("a", `,"meta":{"k":"v","k":"w"}`)), serviceBody(instanceBody("a", `,"meta":{"k":null}`)), serviceBody(instanceBody("a", `,"meta":null`)),
		serviceBody(instanceBody("a", `,"meta":{}`)), serviceBody(instanceBody("a", `,"meta":[]`)), serviceBody(instanceBody(`\u0061\/\"\\`, "")),
		serviceBody(instanceBody("a", `,"meta":{"b":"1","a":"2"}`) + "," + instanceBody("b", `,"meta":{"a":"2","b":"1"}`) + "," + instanceBody("c", `,"meta":{"a":"2","a":"2"}`)),
		serviceBody(instanceBody(`\ud83d\ude00`, "")), serviceBody(instanceBody(`\ud83d`, "")), serviceBody(instanceBody("\xc3\x28", "")),
		serviceBody("null"), serviceBody("{}"), serviceBody("[]"), serviceBody(`"a"`), serviceBody(instanceBody("a", "") + ","),
		strings.Replace(serviceBody(""), `"changed":{`, `"changes":{"added":["a"],"removed":[],"changed":[{"id":"a","fields":["port"]}],"more":1},"changed":{`, 1),
		strings.Replace(serviceBody(""), `"changed":{`, `"changes":{"changed":[]},"changed":{`, 1), strings.Replace(serviceBody(""), `"changed":{`, `"changes":null,"changed":{`, 1),
		strings.Replace(serviceBody(""), `"revision":1`, `"revision":12345678901234567890`, 1), strings.Replace(serviceBody(""), "00Z", "00.123456789+05:30", 1),
		body("service", `"later":`+strings.Repeat("[", 31)+strings.Repeat("]", 31)), body("service", `"later":`+strings.Repeat("[", 32)+strings.Repeat("]", 32)),
		"", "{", "}", "{}", "[]", "null", `""`, "0", `{"schema":"seamark/1.0"}`, strings.Repeat("{", 40), `{"a`, `{"a\`, `{"a":"\`, `{"a":"\u12`,
	} {
		decodeBoth(t, d, []byte(text))
		decodeBoth(t, &registry.Decoder{}, []byte(text))
	}
}

// TestWhatIsPublishedIsDecodedTheFastWay keeps the fast way fast: an ordinary event
// must not need encoding/json.
func TestWhatIsPublishedIsDecodedTheFastWay(t *testing.T) {
	t.Parallel()
	m := records(1, 2)
	d := registry.NewDecoder()
	many := strings.TrimSuffix(strings.Repeat(instanceBody("x", `,"later":[{}]`)+",", 2*registry.MaxDepth), ",")
	for n := range 2 * registry.MaxDepth {
		many = strings.Replace(many, `"x"`, fmt.Sprintf(`"i-%02d"`, n), 1)
	}
	for _, text := range [][]byte{m[2].body, m[3].body, []byte(serviceBody(many)), []byte(serviceBody(instanceBody("a", `,"meta":{"<b>":"ü & \"x\""}`)))} {
		encoded := text
		if event, err := registry.Decode(text); err == nil {
			event.Service.Changes = &registry.Changes{Added: []string{"a"}, Changed: []registry.InstanceChange{{ID: "b", Fields: []string{"port"}}}}
			encoded, _ = registry.Encode(event)
		}
		if _, err := d.Decode(encoded); err != nil {
			t.Fatal(err)
		}
		if !registry.DecodesPlain(d, text) || !registry.DecodesPlain(d, encoded) {
			t.Errorf("encoding/json is needed for\n%s", encoded)
		}
	}
}

func TestDecoderKeepsOneCopyOfWhatRepeats(t *testing.T) {
	m := records(1, 2)
	d := registry.NewDecoder()
	decode := func() {
		if _, err := d.Decode(m[3].body); err != nil {
			t.Fatal(err)
		}
	}
	decode()
	if got := testing.AllocsPerRun(100, decode); got > 8 {
		t.Errorf("%v allocations for an event with two instances, want no more than 8", got)
	}
}

// FuzzDecodersAgree looks for a body that this package and encoding/json do not
// decode alike.
func FuzzDecodersAgree(f *testing.F) {
	two := instanceBody("a", `,"meta":{"k":"v"}`) + "," + instanceBody("b", `,"version":"1","meta":{"k":"v","l":"\u00e9\n"}`)
	f.Add([]byte(serviceBody(two)))
	for n, morsel := range morsels {
		f.Add([]byte(body("service", `"later":`+morsel+`,"service":{"namespace":"d","name":"n","instances":[`+instanceBody(fmt.Sprint(n), "")+`]}`)))
		f.Add([]byte(strings.Replace(serviceBody(two), `80`, morsel, 1)))
	}
	d := registry.NewDecoder()
	f.Fuzz(func(t *testing.T, text []byte) {
		if event, err := decodeBoth(t, d, text); err == nil && event == nil {
			t.Fatal("no event and no error")
		}
	})
}

func TestDecodeWithJSONIsTheOracle(t *testing.T) {
	t.Parallel()
	var want registry.Event
	text := []byte(serviceBody(instanceBody("a", "")))
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	got, err := registry.DecodeWithJSON(text)
	if err != nil || got.ID != want.ID || !reflect.DeepEqual(got.Service.Instances, want.Service.Instances) {
		t.Errorf("DecodeWithJSON = %+v, %v", got, err)
	}
	var refused *registry.Refusal
	if _, err := registry.DecodeWithJSON(nil); !errors.As(err, &refused) {
		t.Errorf("DecodeWithJSON(nil) = %v", err)
	}
}

// BenchmarkDecode decodes the event of a service with two instances as a reader
// does, and with encoding/json.
func BenchmarkDecode(b *testing.B) {
	text := records(1, 1)[2].body
	d := registry.NewDecoder()
	for name, decode := range map[string]func([]byte) (*registry.Event, error){
		"own": d.Decode, "encoding/json": registry.DecodeWithJSON,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decode(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
