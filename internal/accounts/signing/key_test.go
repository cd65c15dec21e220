package signing_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"tempestd/internal/accounts/signing"
)

// The AT Protocol's interoperability tests:
// https://github.com/bluesky-social/atproto-interop-tests.
func TestSignaturesOfTheProtocolsFixtures(t *testing.T) {
	const p256, k256 = "did:key:zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo", "did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc"
	for name, row := range map[string]struct {
		key, sig string
		good     bool
	}{
		"P-256":         {p256, "2vZNsG3UKvvO/CDlrdvyZRISOFylinBh0Jupc6KcWoJWExHptCfduPleDbG3rko3YZnn9Lw0IjpixVmexJDegg", true},
		"k256":          {k256, "5WpdIuEUUfVUYaozsi8G0B3cWO09cgZbIIwg1t2YKdUn/FEznOndsz/qgiYb89zwxYCbB71f7yQK5Lr7NasfoA", true},
		"P-256, high s": {p256, "2vZNsG3UKvvO/CDlrdvyZRISOFylinBh0Jupc6KcWoKp7O4VS9giSAah8k5IUbXIW00SuOrjfEqQ9HEkN9JGzw", false},
		"k256, high s":  {k256, "5WpdIuEUUfVUYaozsi8G0B3cWO09cgZbIIwg1t2YKdXYA67MYxYiTMAVfdnkDCMN9S5B3vHosRe07aORmoshoQ", false},
		"P-256 as DER": {"did:key:zDnaeT6hL2RnTdUhAPLij1QBkhYZnmuKyM7puQLW1tkF4Zkt8",
			"MEQCIFxYelWJ9lNcAVt+jK0y/T+DC/X4ohFZ+m8f9SEItkY1AiACX7eXz5sgtaRrz/SdPR8kprnbHMQVde0T2R8yOTBweA", false},
		"k256 as DER": {"did:key:zQ3shnriYMXc8wvkbJqfNWh5GXn2bVAeqTC92YuNbek4npqGF",
			"MEUCIQCWumUqJqOCqInXF7AzhIRg2MhwRz2rWZcOEsOjPmNItgIgXJH7RnqfYY6M0eg33wU0sFYDlprwdOcpRn78Sz5ePgk", false},
		"the other key": {k256, "2vZNsG3UKvvO/CDlrdvyZRISOFylinBh0Jupc6KcWoJWExHptCfduPleDbG3rko3YZnn9Lw0IjpixVmexJDegg", false},
	} {
		key, err := signing.ParseMultikey(row.key)
		if err != nil {
			t.Fatal(name, err)
		}
		if "did:key:"+key.String() != row.key {
			t.Errorf("%s: %s is written as %s", name, row.key, key)
		}
		content, _ := base64.RawStdEncoding.DecodeString("oWVoZWxsb2V3b3JsZA")
		sig, err := base64.RawStdEncoding.DecodeString(row.sig)
		if err != nil {
			t.Fatal(name, err)
		}
		err = key.Verify(content, sig)
		if row.good != (err == nil) || err != nil && !errors.Is(err, signing.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
		if err := key.Verify(append(content, 'x'), sig); !errors.Is(err, signing.ErrSignature) {
			t.Errorf("%s: another content: %v", name, err)
		}
	}
	if err := (signing.Key{}).Verify(nil, make([]byte, 64)); !errors.Is(err, signing.ErrSignature) {
		t.Errorf("no key: %v", err)
	}
}

func TestKeysOfPrivateKeys(t *testing.T) {
	for private, public := range map[string]string{
		"9085d2bef69286a6cbb51623c8fa258629945cd55ca705cc4e66700396894e0c": "zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
		"175a232d440be1e0788f25488a73d9416c04b6f924bea6354bf05dd2f1a75133": "zQ3shptjE6JwdkeKN4fcpnYQY3m9Cet3NiHdAfpvSUZBFoKBj",
	} {
		b, _ := hex.DecodeString(private)
		if got := signing.K256(secp256k1.PrivKeyFromBytes(b).PubKey()).String(); got != public {
			t.Errorf("%s, want %s", got, public)
		}
	}
}

func TestTextsThatAreNoKeys(t *testing.T) {
	for _, text := range []string{"", "z", "did:key:", "Q3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme", "zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBm",
		"zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYB0e", "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"} {
		if _, err := signing.ParseMultikey(text); !errors.Is(err, signing.ErrKey) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzMultikey(f *testing.F) {
	f.Add("zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme")
	f.Add("did:key:zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo")
	f.Add("z11111")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := signing.ParseMultikey(text)
		if err != nil {
			return
		}
		again, err := signing.ParseMultikey(key.String())
		if err != nil || again.String() != key.String() || len(text) != len(key.String()) && "did:key:"+key.String() != text {
			t.Fatalf("%q is read as %v, then %v, %v", text, key, again, err)
		}
	})
}
