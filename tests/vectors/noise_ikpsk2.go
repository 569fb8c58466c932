// Computes WireGuard handshakes from fixed inputs with golang.org/x/crypto, following the paper's section 5.4.
package main

import (
	"crypto/hmac"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash"
	"os"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/curve25519"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}
func H(parts ...[]byte) []byte {
	h, err := blake2s.New256(nil)
	must(err)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
func mac(key []byte, data []byte) []byte {
	h, err := blake2s.New128(key)
	must(err)
	h.Write(data)
	return h.Sum(nil)
}
func hm(key []byte, parts ...[]byte) []byte {
	h := hmac.New(func() hash.Hash { x, _ := blake2s.New256(nil); return x }, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
func kdf(n int, key, in []byte) [][]byte {
	t0 := hm(key, in)
	var out [][]byte
	prev := []byte{}
	for i := 1; i <= n; i++ {
		prev = hm(t0, prev, []byte{byte(i)})
		out = append(out, prev)
	}
	return out
}
func dh(priv, pub []byte) []byte {
	s, err := curve25519.X25519(priv, pub)
	must(err)
	return s
}
func pub(priv []byte) []byte { return dh(priv, curve25519.Basepoint) }
func seal(key []byte, counter uint64, plain, aad []byte) []byte {
	a, err := chacha20poly1305.New(key)
	must(err)
	n := make([]byte, 12)
	binary.LittleEndian.PutUint64(n[4:], counter)
	return a.Seal(nil, n, plain, aad)
}
func le32(v uint32) []byte { b := make([]byte, 4); binary.LittleEndian.PutUint32(b, v); return b }
func cat(p ...[]byte) []byte {
	var o []byte
	for _, x := range p {
		o = append(o, x...)
	}
	return o
}
func clamp(k []byte) []byte      { k[0] &= 248; k[31] = k[31]&127 | 64; return k }
func stream(label string) []byte { return H([]byte("vern known answer: " + label)) }

func one(name string, psk []byte) map[string]any {
	si, sr := clamp(stream(name+" initiator static")), clamp(stream(name+" responder static"))
	ei, er := clamp(stream(name+" initiator ephemeral")), clamp(stream(name+" responder ephemeral"))
	ts := cat([]byte{0x40, 0, 0, 0, 0x65, 0x53, 0xf1, 0x0a}, []byte{0x1d, 0, 0, 0})
	var ii, ri uint32 = 0x11223344, 0xa1b2c3d4
	secret, source, nonce := stream(name+" cookie secret"), cat([]byte{192, 0, 2, 7}, []byte{0xc8, 0x21}), stream(name + " cookie nonce")[:24]
	out := map[string]any{"name": name}
	put := func(k string, v []byte) { out[k] = hex.EncodeToString(v) }

	c := H([]byte("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"))
	h := H(c, []byte("WireGuard v1 zx2c4 Jason@zx2c4.com"))
	h = H(h, pub(sr))
	c = kdf(1, c, pub(ei))[0]
	h = H(h, pub(ei))
	t := kdf(2, c, dh(ei, pub(sr)))
	c = t[0]
	es := seal(t[1], 0, pub(si), h)
	h = H(h, es)
	t = kdf(2, c, dh(si, pub(sr)))
	c = t[0]
	et := seal(t[1], 0, ts, h)
	h = H(h, et)
	put("hash_after_initiation", h)
	put("chaining_key_after_initiation", c)
	init := cat([]byte{1, 0, 0, 0}, le32(ii), pub(ei), es, et)
	mk, ck := H([]byte("mac1----"), pub(sr)), H([]byte("cookie--"), pub(sr))
	mac1 := mac(mk, init)
	init = append(init, mac1...)
	put("initiation_without_cookie", cat(init, make([]byte, 16)))

	cookie := mac(secret, source)
	x, err := chacha20poly1305.NewX(ck)
	must(err)
	put("cookie_reply", cat([]byte{3, 0, 0, 0}, le32(ii), nonce, x.Seal(nil, nonce, cookie, mac1)))
	put("cookie", cookie)
	put("initiation_with_cookie", cat(init, mac(cookie, init)))

	h = H(h, pub(er))
	c = kdf(1, c, pub(er))[0]
	c = kdf(1, c, dh(er, pub(ei)))[0]
	c = kdf(1, c, dh(er, pub(si)))[0]
	t = kdf(3, c, psk)
	c = t[0]
	h = H(h, t[1])
	en := seal(t[2], 0, nil, h)
	h = H(h, en)
	resp := cat([]byte{2, 0, 0, 0}, le32(ri), le32(ii), pub(er), en)
	resp = append(resp, mac(H([]byte("mac1----"), pub(si)), resp)...)
	put("response", cat(resp, make([]byte, 16)))
	t = kdf(2, c, nil)
	put("initiator_sending", t[0])
	put("initiator_receiving", t[1])
	put("data_counter_7", seal(t[0], 7, []byte("good news travels far"), nil))

	put("initiator_private", si)
	put("initiator_public", pub(si))
	put("responder_private", sr)
	put("responder_public", pub(sr))
	put("initiator_ephemeral", ei)
	put("responder_ephemeral", er)
	put("preshared_key", psk)
	put("timestamp", ts)
	put("cookie_secret", secret)
	put("cookie_source", source)
	put("cookie_nonce", nonce)
	out["initiator_index"], out["responder_index"] = ii, ri
	return out
}

func main() {
	var kdfs []any
	for i := 0; i < 4; i++ {
		key, in := stream("kdf key"+string(rune('0'+i))), stream("kdf input")[:[]int{0, 1, 31, 32}[i]]
		t := kdf(3, key, in)
		kdfs = append(kdfs, map[string]string{"key": hex.EncodeToString(key), "input": hex.EncodeToString(in),
			"hmac": hex.EncodeToString(hm(key, in)), "t1": hex.EncodeToString(t[0]), "t2": hex.EncodeToString(t[1]), "t3": hex.EncodeToString(t[2])})
	}
	doc := map[string]any{
		"about":      "WireGuard handshakes from fixed inputs, computed by an independent Go program over golang.org/x/crypto v0.31.0 (blake2s, chacha20poly1305, curve25519) and crypto/hmac; see README.md",
		"handshakes": []any{one("with psk", stream("psk")), one("without psk", make([]byte, 32))},
		"kdf":        kdfs,
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	must(e.Encode(doc))
}
