package dhcp

import (
	"fmt"
	"slices"
	"strings"
)

// Sub-options of option 175 in which iPXE tells what it can do and what it runs on (its src/include/ipxe/dhcp.h).
const (
	featureHTTP    = 0x13
	featureBzImage = 0x18
	featureEFI     = 0x24
	busID          = 0xb1 // type of bus, vendor, device
	ipxeVersion    = 0xeb
)

// busPCI is the type of bus in the bus ID.
const busPCI = 1

// ipxeNoProxy is sub-option 176 of option 175: there is no proxy, do not wait for one (FIRMWARE fact 26).
const ipxeNoProxy = 0xb0

// ipxeClass is iPXE's user class.
const ipxeClass = "iPXE"

// features is what an iPXE tells in option 175, by sub-option.
type features map[byte][]byte

// readFeatures reads option 175. It is empty where the option is missing or is not iPXE's.
func readFeatures(value []byte) features {
	var found features
	for len(value) >= 2 && len(value) >= 2+int(value[1]) {
		length := int(value[1])
		if found == nil {
			found = make(features)
		}
		found[value[0]] = value[2 : 2+length]
		value = value[2+length:]
	}
	return found
}

// capable reports whether this iPXE can fetch a script by HTTP and start a Linux kernel. VirtualBox's cannot (FIRMWARE fact 24).
func (f features) capable() bool {
	return f.has(featureHTTP) && (f.has(featureBzImage) || f.has(featureEFI))
}

func (f features) has(code byte) bool { return len(f[code]) > 0 && f[code][0] != 0 }

// nic returns the PCI vendor and device of the network card, such as "8086:100e"; empty if iPXE does not tell. Some cards need another
// loader, so people look for it (FIRMWARE fact 30).
func (f features) nic() string {
	id := f[busID]
	if len(id) != 5 || id[0] != busPCI {
		return ""
	}
	return fmt.Sprintf("%x:%x", id[1:3], id[3:5])
}

// version returns iPXE's version, such as "1.21.1".
func (f features) version() string {
	v := f[ipxeVersion]
	if len(v) != 3 {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2])
}

// isIPXE reads option 77, which iPXE sends as bare bytes though RFC 3004 wants a length before each class.
func isIPXE(value []byte) bool {
	return strings.TrimRight(string(value), "\x00") == ipxeClass || slices.Contains(userClasses(value), ipxeClass)
}

// userClasses reads option 77 in the form of RFC 3004; it returns nothing for a value that does not have this form.
func userClasses(value []byte) []string {
	var classes []string
	for len(value) > 0 {
		length := int(value[0])
		if length == 0 || length > len(value)-1 {
			return nil
		}
		classes = append(classes, string(value[1:1+length]))
		value = value[1+length:]
	}
	return classes
}
