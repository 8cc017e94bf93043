#!/bin/sh
# The batch script of every task of dspy-agent. The command comes as an array in the environment: nothing of a
# task is ever read as shell. Names begin with _dspy, so that no variable of the task's is overwritten.
_dspy_folder=$_DSPY_FOLDER _dspy_cwd=$_DSPY_CWD _dspy_argc=$_DSPY_ARGC
set --
_dspy_i=0
while [ "$_dspy_i" -lt "$_dspy_argc" ]; do
	eval "set -- \"\$@\" \"\$_DSPY_ARG_$_dspy_i\"; unset _DSPY_ARG_$_dspy_i"
	_dspy_i=$((_dspy_i + 1))
done
unset _DSPY_FOLDER _DSPY_CWD _DSPY_ARGC

_dspy_cd() { CDPATH='' cd -- "$_dspy_cwd" 2>/dev/null; }
if [ -z "$_dspy_folder" ]; then
	_dspy_cd || exit 125
	exec "$@"
fi

_dspy_job=$SLURM_JOB_ID
[ -z "$SLURM_ARRAY_TASK_ID" ] || _dspy_job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
# How it ended: exit code, restarts before, whether it was told to stop, and why it did not start.
_dspy_end() {
	echo "$1 ${SLURM_RESTART_COUNT:-0} $_dspy_told $2" >"$_dspy_folder/$_dspy_job.new" &&
		command -p mv -f "$_dspy_folder/$_dspy_job.new" "$_dspy_folder/$_dspy_job.end"
	exit "$1"
}
_dspy_told=0
trap '_dspy_told=1' TERM
command -p rm -f "$_dspy_folder/$_dspy_job.end"
_dspy_cd || _dspy_end 125 no-directory
# The shell's own words on how the command ended are no output of the task's.
exec 9>&2 2>/dev/null
(exec "$@") 2>&9 9>&-
_dspy_code=$?
if [ "$_dspy_code" -eq 126 ] || [ "$_dspy_code" -eq 127 ]; then
	_dspy_program=$(command -v "$1")
	case $_dspy_program in
	*/*) [ -f "$_dspy_program" ] && [ -x "$_dspy_program" ] || _dspy_end "$_dspy_code" no-program ;;
	*) _dspy_end "$_dspy_code" no-program ;;
	esac
fi
_dspy_end "$_dspy_code" ran
