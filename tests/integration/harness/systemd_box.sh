#!/bin/bash
# Runs a command under a real systemd that is PID 1 of private mount, PID, UTS, IPC and cgroup
# namespaces, on a throw-away overlay of ROOT: / for the machine's own files.
#
#   systemd_box.sh ROOT FOLDER COMMAND [ARGUMENT...]
#
# FOLDER, and whatever file system COMMAND lies on, are the host's own inside; FOLDER is where
# files can be left. The command's output goes to FOLDER/output, what goes wrong before
# it to FOLDER/console, what systemd says to the journal inside. Its exit status is ours, and 125
# says that it did not get to its end. If it succeeds and has left FOLDER/reboot, the machine is booted
# again, with what was enabled, the same files and an empty /run, and the command is run there as well;
# then that file is called FOLDER/rebooted.
#
# Private /tmp and /var/tmp are not for tidiness: a booting systemd empties them. No unit of
# the host is started, as udev, sysctl and their like would act on the host's kernel. The
# network is the host's, for the loopback: use free ports. Needs root.
set -euo pipefail

# 1: its own mounts, and a control group of its own, or two boxes would share system.slice. Where
# the host has the old hierarchy, the new one is elsewhere or nowhere, so it is mounted.
enclose() {
    mount --make-rprivate /
    mount -t cgroup2 cgroup2 "$folder/cgroup"
    mkdir "$folder/cgroup/$group"
    echo $$ >"$folder/cgroup/$group/cgroup.procs"
    # Outlives a boot.
    mount -t tmpfs tmpfs "$folder/layers"
    mkdir "$folder/layers"/{up,work,root}
    # What the process is in becomes the root. systemd exits with a status of its own.
    while true; do
        unshare --mount --cgroup --pid --uts --ipc --fork --kill-child \
            "$BASH" "$0" --boot "$lower" "$folder" "$@" || true
        [[ -e $folder/reboot && $(cat "$folder/status") == 0 ]] || break
        mv "$folder/reboot" "$folder/rebooted"
        mv "$folder/output" "$folder/output.before"
        rm "$folder/status"
    done
}

# 2: systemd as PID 1.
boot() {
    local layers=$folder/layers root=$folder/layers/root dir wanted=""
    umount "$folder/cgroup"
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$layers/up,workdir=$layers/work" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    umount -R "$root/sys/fs/cgroup" 2>/dev/null || true
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    for dir in run tmp var/tmp; do mount -t tmpfs tmpfs "$root/$dir"; done
    for dir in "$folder" "$(dirname "$(dirname "$1")")"; do
        mkdir -p "$root$dir"
        mount --bind "$dir" "$root$dir"
    done
    if [[ -e $folder/rebooted ]]; then
        wanted="sockets.target timers.target"
    else
        leave_journal
    fi
    # What the host's kernel has said is no business of the box.
    mkdir -p "$root/etc/systemd/journald.conf.d"
    printf '[Journal]\nReadKMsg=no\n' >"$root/etc/systemd/journald.conf.d/box.conf"
    printf '%q ' "$@" >"$folder/command"
    cat >"$root/etc/systemd/system/box.target" <<UNIT
[Unit]
Requires=box.service
Wants=$wanted
UNIT
    cat >"$root/etc/systemd/system/box.service" <<UNIT
[Unit]
DefaultDependencies=no
After=$wanted
[Service]
Type=oneshot
Environment=AVALON_SYSTEMD_BOX=$folder
ExecStart=/bin/bash -c '. $folder/command >$folder/output 2>&1; echo \$\$? >$folder/status; kill -s RTMIN+14 1'
UNIT
    # Not chroot, in which the kernel refuses user namespaces (PrivateUsers=).
    cd "$root"
    pivot_root . .
    umount --lazy .
    # As systemd does on a machine, and not in a container: units see what is mounted after their start.
    mount --make-rshared /
    # container= has systemd leave the machine's hardware alone.
    exec /usr/bin/env -i PATH="$PATH" container=other \
        /lib/systemd/systemd --system --unit=box.target \
        --log-target=journal --show-status=0
}

# Of the host's own boot only the journal and temporary files stay.
leave_journal() {
    local want
    rm -rf "$root"/etc/systemd/system/*.wants
    for want in "$root"/lib/systemd/system/*.target.wants/*; do
        case $want in
        *journald* | *tmpfiles-setup.service) ;;
        *) rm -f "$want" ;;
        esac
    done
}

# 3: nothing runs any more.
clean() {
    mount --make-rprivate /
    mount -t cgroup2 cgroup2 "$folder/cgroup"
    # The dead leave a control group a moment after they were reaped.
    for _ in {1..100}; do
        find "$folder/cgroup/$group" -depth -type d -exec rmdir {} + && break
        sleep 0.02
    done
}

step=run
case $1 in
--enclose | --boot | --clean) step=${1#--} && shift ;;
esac
lower=$1 folder=$2
shift 2
# Unique, as there may be other boxes at the same time.
group=avalon-box-${folder//[^[:alnum:]]/_}
case $step in
enclose | boot | clean)
    # Not with `&&`, which would have errors in there ignored.
    "$step" "$@"
    exit
    ;;
esac

mkdir "$folder/cgroup" "$folder/layers"
# systemd is told to exit with a status of its own; the command's is in the file.
timeout -k 5 "${SYSTEMD_BOX_SECONDS:-180}" unshare --mount "$BASH" "$0" --enclose "$lower" "$folder" "$@" \
    </dev/null >"$folder/console" 2>&1 || true
unshare --mount "$BASH" "$0" --clean "$lower" "$folder" 2>>"$folder/console" || true
exit "$(cat "$folder/status" 2>/dev/null || echo 125)"
