//! The keyed hash of everything that nobody outside may aim at.

/// SipHash-1-3 of 64-bit words (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012; one compression
/// and three finalisation rounds as in Rust's and Linux' hash tables).
#[inline(always)]
pub(crate) fn siphash13<const N: usize>(key: &[u64; 2], words: [u64; N]) -> u64 {
    let mut state = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let mut at = 0;
    while at <= N {
        let word = if at < N { words[at] } else { (size_of::<[u64; N]>() as u64) << 56 };
        state[3] ^= word;
        round(&mut state);
        state[0] ^= word;
        at += 1;
    }
    state[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

#[inline(always)]
const fn round(state: &mut [u64; 4]) {
    let [mut a, mut b, mut c, mut d] = *state;
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    *state = [a, b, c, d];
}
