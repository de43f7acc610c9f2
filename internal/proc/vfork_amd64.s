#include "textflag.h"

// The child returns first and uses the stack, where the parent's return address would lie: a register keeps it.

// func vfork(flags uintptr) (pid, errno uintptr)
TEXT ·vfork(SB),NOSPLIT|NOFRAME,$0-24
	MOVQ	flags+0(FP), DI
	XORL	SI, SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	MOVL	$56, AX // clone
	POPQ	R12
	SYSCALL
	PUSHQ	R12
	CMPQ	AX, $-4095
	JCC	failed
	MOVQ	AX, pid+8(FP)
	MOVQ	$0, errno+16(FP)
	RET
failed:
	NEGQ	AX
	MOVQ	$0, pid+8(FP)
	MOVQ	AX, errno+16(FP)
	RET

// The child calls the code of a Go function, whose calling convention has the first argument in AX and zero in X15. By its name it would be called through a wrapper,
// which enters the race detector.

// func fork(flags uintptr, stack unsafe.Pointer, s *shimState, code uintptr) (pid, errno uintptr)
TEXT ·fork(SB),NOSPLIT|NOFRAME,$0-48
	MOVQ	flags+0(FP), DI
	ORQ	$0x100, DI // CLONE_VM
	MOVQ	stack+8(FP), SI
	MOVQ	s+16(FP), R12
	MOVQ	code+24(FP), R13
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	MOVL	$56, AX // clone
	SYSCALL
	CMPQ	AX, $0
	JEQ	child
	CMPQ	AX, $-4095
	JCC	failed
	MOVQ	AX, pid+32(FP)
	MOVQ	$0, errno+40(FP)
	RET
failed:
	NEGQ	AX
	MOVQ	$0, pid+32(FP)
	MOVQ	AX, errno+40(FP)
	RET
child:
	ANDQ	$~15, SP
	MOVQ	R12, AX
	XORPS	X15, X15
	CALL	R13 // does not return
	INT	$3
	RET
