//! Settings of the C library's allocator, made once before any thread starts. Batches of megabytes come and go many
//! times a second: by default their memory goes back to the system each time and is cleared for us again. And each
//! thread gets an arena of its own, while batches are made on one thread and dropped on another. Nothing here is needed for
//! anything but speed; with another C library nothing happens.

/// Smaller pieces than this come out of memory that the process keeps: above the largest piece of an ordinary batch, which
/// is a broker's answer or a statement of 8 MiB, and what a list of half of that grows to.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: i32 = 16 << 20;

/// Keeps a little more memory, in fewer places.
pub fn set_up() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    gnu();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "mallopt takes numbers and is called before there is a second thread")]
fn gnu() {
    // Whoever sets these knows better.
    if std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("MALLOC_") || name == "GLIBC_TUNABLES") {
        return;
    }
    // SAFETY: see the reason above.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * KEPT_BYTES);
        libc::mallopt(libc::M_ARENA_MAX, 4);
    }
}
