# Read by the finetune_*.sh beside it.

# is_listed MANIFEST FOLDER: whether the manifest is there; one of another folder ends the script.
is_listed() {
    [ -e "$1" ] || return 1
    folder=$(cd "$2" && pwd) listed=$(head -n 1 "$1")
    case $listed/ in
    "$folder"/*) ;;
    *)
        echo "$1: found the clips of $listed, expected those of $folder: rename or remove it" >&2
        exit 1
        ;;
    esac
}
