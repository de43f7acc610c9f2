#include "textflag.h"

// The child returns first and uses the stack; the return address stays in the link register.

// func vfork(flags uintptr) (pid, errno uintptr)
TEXT ·vfork(SB),NOSPLIT|NOFRAME,$0-24
	MOVD	flags+0(FP), R0
	MOVD	$0, R1
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$220, R8 // clone
	SVC
	CMN	$4095, R0
	BCS	failed
	MOVD	R0, pid+8(FP)
	MOVD	ZR, errno+16(FP)
	RET
failed:
	NEG	R0, R0
	MOVD	ZR, pid+8(FP)
	MOVD	R0, errno+16(FP)
	RET

// The child calls the code of a Go function, whose calling convention has the first argument in R0. By its name it would be called through a wrapper, which enters
// the race detector.

// func fork(flags uintptr, stack unsafe.Pointer, s *shimState, code uintptr) (pid, errno uintptr)
TEXT ·fork(SB),NOSPLIT|NOFRAME,$0-48
	MOVD	flags+0(FP), R0
	ORR	$0x100, R0 // CLONE_VM
	MOVD	stack+8(FP), R1
	AND	$~15, R1
	MOVD	s+16(FP), R19
	MOVD	code+24(FP), R20
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$220, R8 // clone
	SVC
	CBZ	R0, child
	CMN	$4095, R0
	BCS	failed
	MOVD	R0, pid+32(FP)
	MOVD	ZR, errno+40(FP)
	RET
failed:
	NEG	R0, R0
	MOVD	ZR, pid+32(FP)
	MOVD	R0, errno+40(FP)
	RET
child:
	SUB	$32, RSP
	MOVD	R19, R0
	BL	(R20) // does not return
	BRK
	RET
